//! The functions before rounding, against values that arbitrary-precision arithmetic gave (mpmath with 400
//! bits; the trigonometric ones with arguments reduced by the 66-bit value of pi).

use super::*;

/// Argument (sign and exponent, significand) and result (negative, exponent, 128 bits of the significand).
type Vector = (u16, u64, bool, i32, u128);

/// Asserts that results are right in their first 118 bits.
fn check(vectors: &[Vector], function: impl Fn(F80) -> Wide) {
    for &(sign_exponent, significand, negative, exponent, expected) in vectors {
        let argument = F80::new(sign_exponent, significand);
        let result = function(argument);
        // A step of the exponent, should the two be on both sides of a power of two.
        let steps = result.exponent.abs_diff(exponent);
        let (a, b) = if result.exponent >= exponent {
            (result.significand, expected >> steps.min(127))
        } else {
            (result.significand >> steps.min(127), expected)
        };
        assert!(
            result.negative == negative && steps <= 1 && a.abs_diff(b) < 1 << 10,
            "{argument:x?}: {result:x?} instead of {negative} {exponent:x} {expected:x}"
        );
    }
}

#[test]
fn sine() {
    check(SINES, |x| reduce(x).sine_of_quadrant(0).with_sign_of(x));
}

#[test]
fn cosine() {
    check(COSINES, |x| reduce(x).sine_of_quadrant(1));
}

#[test]
fn exponential() {
    check(EXPONENTIALS, |x| power_minus_1(x.normalized().into()));
}

#[test]
fn logarithm() {
    check(LOGARITHMS, |x| log2(x.normalized().into()).0);
}

#[test]
fn logarithm_plus_1() {
    check(LOGARITHMS_PLUS_1, |x| log2_plus_1(x.normalized().into()).0);
}

#[test]
fn arctangent_of_ratio() {
    check(ARCTANGENTS, |x| arctangent_of(x.normalized().into()));
}

impl Wide {
    /// The same for the argument's magnitude turned into the one for the argument: the function is odd.
    fn with_sign_of(self, argument: F80) -> Wide {
        self.with_sign(self.negative != argument.is_negative())
    }
}

#[rustfmt::skip]
const SINES: &[Vector] = &[
    (0x3fff, 0xc90f_daa2_2168_c235, false, -1, 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff),
    (0x4000, 0xc90f_daa2_2168_c235, true, -65, 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff),
    (0x403d, 0xffff_ffff_ffff_ffff, false, -1, 0xe0ab_9300_da6d_2684_2908_f01d_1a69_a443),
    (0x3ffe, 0xc90f_daa2_2168_c234, false, -1, 0xb504_f333_f9de_6483_ce59_77fd_05e1_268c),
    (0x3ffe, 0xc90f_daa2_2168_c235, false, -1, 0xb504_f333_f9de_6484_8a1f_21cf_e7c5_246f),
    (0x3ffd, 0xffff_ffff_ffff_ffff, false, -2, 0xf577_43a2_582f_7f42_d1b4_daf5_1031_5e45),
    (0x3ffe, 0x8000_0000_0000_0000, false, -2, 0xf577_43a2_582f_7f43_b25e_1b27_ec1b_db33),
    (0x3fc0, 0x8000_0000_0000_0000, false, -64, 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff),
    (0xc01d, 0xb0c1_1fde_cb91_ce37, true, -1, 0xfff0_4115_de12_01ef_7806_320c_fe0c_79e1),
    (0x402b, 0xf17f_d374_c6a5_3877, false, -4, 0xdf90_5302_c1be_868c_0e0d_be75_77b1_c1e2),
    (0x3ff6, 0xa827_688d_e6a1_6a3b, false, -9, 0xa827_5c76_6882_e557_914c_8408_2675_8385),
    (0x401f, 0xde52_7100_7814_e8a2, false, -1, 0x8ff4_e1d8_7c93_0bfa_52d6_04ac_2844_c439),
    (0x4020, 0x9a1a_fe87_8b33_e968, true, -2, 0xb6f2_22b0_48f3_7aa8_4dd1_1a71_9474_dd10),
    (0x3ff1, 0xb77b_9aa2_bb2e_db20, false, -14, 0xb77b_9a9e_cdca_b6cb_854f_43aa_460f_3ea0),
    (0xc013, 0xea95_9c21_2e9c_82b1, false, -3, 0x9769_c87d_ea39_60e2_3f0c_f3d5_1a00_84f0),
    (0xc004, 0xcc11_d357_c30d_8b76, true, -1, 0xaedc_1e14_c8c2_eed0_36e0_3343_10d2_4cf4),
];

#[rustfmt::skip]
const COSINES: &[Vector] = &[
    (0x3fff, 0xc90f_daa2_2168_c235, true, -66, 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff),
    (0x4000, 0xc90f_daa2_2168_c235, true, -1, 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_ffff),
    (0x403d, 0xffff_ffff_ffff_ffff, false, -2, 0xf56e_c1e0_a37c_4176_6542_6fac_de9a_6d16),
    (0x3ffe, 0xc90f_daa2_2168_c234, false, -1, 0xb504_f333_f9de_6484_e4a1_9b69_e4b4_56b1),
    (0x3ffe, 0xc90f_daa2_2168_c235, false, -1, 0xb504_f333_f9de_6484_28db_f197_02d0_58ce),
    (0x3ffd, 0xffff_ffff_ffff_ffff, false, -1, 0xe0a9_4032_dbea_7ced_fb3b_6e8b_9106_b956),
    (0x3ffe, 0x8000_0000_0000_0000, false, -1, 0xe0a9_4032_dbea_7ced_bddd_9da2_fafa_d985),
    (0x3fc0, 0x8000_0000_0000_0000, false, -1, 0xffff_ffff_ffff_ffff_ffff_ffff_ffff_fffe),
    (0xc01d, 0xb0c1_1fde_cb91_ce37, false, -6, 0xb390_891c_5987_1349_d768_bb6f_ad36_d93f),
    (0x402b, 0xf17f_d374_c6a5_3877, false, -1, 0xfe78_5ae7_293c_5a30_5885_2e9f_4175_b227),
    (0x3ff6, 0xa827_688d_e6a1_6a3b, false, -1, 0xffff_c8c6_2256_af83_e9a7_d551_70d2_dcd7),
    (0x401f, 0xde52_7100_7814_e8a2, false, -1, 0xd3b0_8c8c_4f5b_ab62_217f_0d02_877b_e2fc),
    (0x4020, 0x9a1a_fe87_8b33_e968, true, -1, 0xef19_8b2c_b270_5244_9682_6e04_44d2_0266),
    (0x3ff1, 0xb77b_9aa2_bb2e_db20, false, -1, 0xffff_ffef_8fc1_a7d9_5cde_a7c7_863c_5f64),
    (0xc013, 0xea95_9c21_2e9c_82b1, true, -1, 0xfd2f_9ab1_2943_7055_9fd2_1af8_b35d_7fe8),
    (0xc004, 0xcc11_d357_c30d_8b76, false, -1, 0xbaf9_dd91_6293_f031_1756_8f5b_c841_1b31),
];

#[rustfmt::skip]
const EXPONENTIALS: &[Vector] = &[
    (0x3ffe, 0xffff_ffff_ffff_ffff, false, -1, 0xffff_ffff_ffff_fffe_9d1b_d010_5c61_0ca8),
    (0xbffe, 0xffff_ffff_ffff_ffff, true, -2, 0xffff_ffff_ffff_ffff_4e8d_e808_2e30_8653),
    (0x3f00, 0x8000_0000_0000_0000, false, -256, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af),
    (0x3fe4, 0x9e11_5e4b_9e30_691c, false, -28, 0xdb20_e981_6cbb_2e31_1394_c310_a0c9_7e6d),
    (0xbfe4, 0x8074_5130_21da_8978, true, -28, 0xb213_57e2_b959_512d_18ca_488a_eb0c_b260),
    (0x3fe6, 0xb729_c619_c60a_3cab, false, -26, 0xfdeb_07af_29d7_b278_35a5_533f_788a_c8b0),
    (0x3ffb, 0xca0f_e75d_2a9e_ba0c, false, -4, 0x90f5_8344_4eb3_acf4_c8e4_a974_d8bb_8149),
    (0xbffe, 0x8a0a_8c96_32ea_6928, true, -2, 0x9fab_f4d2_2290_5a24_3db1_67a6_f8d9_cfa6),
    (0x3fe5, 0xf7f3_5634_f0e3_cd97, false, -26, 0xabdd_c04a_ba5e_0a31_3f14_1e0e_21fc_e6ba),
    (0x3ffe, 0xe4cc_4132_f710_8e96, false, -1, 0xdba5_24b3_54c5_5dc2_8978_3901_f899_9a1f),
    (0xbfe9, 0xdc76_f18a_0585_a01c, true, -22, 0x98d0_7d2f_376f_bb73_0995_cfc0_0840_73ab),
];

#[rustfmt::skip]
const LOGARITHMS: &[Vector] = &[
    (0x3fff, 0x8000_0000_0000_0001, false, -63, 0xb8aa_3b29_5c17_f0bb_05dd_c3a7_0d05_4dce),
    (0x3ffe, 0xffff_ffff_ffff_ffff, true, -64, 0xb8aa_3b29_5c17_f0bc_1add_1c65_1729_36e7),
    (0x3fff, 0xb504_f333_f9de_6484, false, -2, 0xffff_ffff_ffff_fffe_92d4_4e87_f10a_3ef0),
    (0x3fff, 0xb504_f333_f9de_6485, false, -1, 0x8000_0000_0000_0001_53b9_def4_f4ce_c31c),
    (0x7ffe, 0xffff_ffff_ffff_ffff, false, 13, 0xffff_ffff_ffff_ffff_fffa_3aae_26b5_1f40),
    (0x0001, 0x8000_0000_0000_0001, true, 13, 0xfff7_ffff_ffff_ffff_fff4_755c_4d6a_3e80),
    (0x400a, 0xef90_1b93_2a7c_1880, false, 3, 0xbe77_da30_ac43_e2cb_ac38_717e_116d_4def),
    (0x3ff9, 0x90ac_ff00_4389_2dfc, true, 2, 0xba58_a44a_7cca_5f31_9918_fc45_936b_58f9),
    (0x4005, 0xd141_2584_4d25_deb3, false, 2, 0xd6b1_114a_f1f3_5610_104e_aae6_db37_cb2a),
    (0x3ff0, 0xad8d_194a_9892_1396, true, 3, 0xe8f8_f753_3b27_08b1_f5de_cb9a_0f09_5925),
    (0x4005, 0xcf59_6727_10e6_d8e6, false, 2, 0xd644_f7ac_6643_3451_3eae_636c_74ec_cc9a),
    (0x4006, 0xce5a_3a26_d18a_669a, false, 2, 0xf60c_0402_9a6d_3015_e777_9e03_aefd_4782),
    (0x400e, 0xd0d7_d13f_b248_9191, false, 3, 0xfb4c_e741_aad3_cf9d_4012_b96b_3760_b19d),
    (0x3ffb, 0xf8f8_45f5_7b31_20df, true, 1, 0xc292_3195_a123_0424_02f9_1816_f18a_d924),
];

#[rustfmt::skip]
const LOGARITHMS_PLUS_1: &[Vector] = &[
    (0x3ffd, 0xd413_cccf_e779_9211, false, -2, 0xffff_ffff_ffff_ffff_97fc_2a60_6f2f_10c2),
    (0xbffd, 0x95f6_1998_0c43_36f7, true, -2, 0xffff_ffff_ffff_ffff_62db_f9c7_12ac_1d6b),
    (0x3f00, 0x8000_0000_0000_0000, false, -255, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e88),
    (0xbffe, 0xffff_ffff_ffff_ffff, true, 6, 0x8000_0000_0000_0000_0000_0000_0000_0000),
    (0xbffd, 0xffff_ffff_ffff_ffff, true, -1, 0xffff_ffff_ffff_fffe_8eab_89ad_47d0_1e89),
    (0x3ffc, 0xffff_ffff_ffff_ffff, false, -2, 0xa4d3_c25e_68dc_57f1_b5a4_5572_f09e_e69d),
    (0x3ffd, 0x8000_0000_0000_0000, false, -2, 0xa4d3_c25e_68dc_57f2_495f_b7fa_6d7e_da66),
    (0x3fe1, 0xf9a0_1fe8_4195_21fe, false, -29, 0xb411_14f1_9cd6_4a6b_f9ce_31e7_2967_c2cd),
    (0x3ff7, 0xd84a_1d3a_5b8e_8fb2, false, -7, 0x9b81_da80_fffa_1356_b74a_63bc_f1e1_d810),
    (0xbfe0, 0xc9a9_37a6_8c8f_95ef, true, -30, 0x9177_b8fa_2347_d2cf_8d1d_efae_421f_aa7f),
    (0xbfeb, 0x9419_cf4d_6059_7bdc, true, -20, 0xd5aa_1874_0bc9_09fd_90d9_f787_a5cb_8a1c),
    (0x3fee, 0xb52f_a53c_0bf6_4ef7, false, -16, 0x82b2_8c05_e0c0_3750_49f4_b625_cc9d_4a05),
    (0x3ff3, 0xf453_324e_f486_ab73, false, -11, 0xb033_c16a_ce6e_e9f3_d36c_6424_44a4_2d95),
    (0x3fe3, 0xbeff_8b3f_c177_f113, false, -27, 0x89c6_ade5_9f6f_91e0_b987_2abb_1950_e674),
    (0xbfeb, 0xdad3_ba32_8332_f05a, true, -19, 0x9dd9_b96e_f9db_ed8a_e2c4_7cca_0c05_c13d),
];

#[rustfmt::skip]
const ARCTANGENTS: &[Vector] = &[
    (0x3fff, 0x8000_0000_0000_0000, false, -1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1),
    (0x3ffe, 0xffff_ffff_ffff_ffff, false, -1, 0xc90f_daa2_2168_c234_44c6_628b_80dc_1cd0),
    (0x3ffb, 0xffff_ffff_ffff_ffff, false, -4, 0xfead_d4d5_617b_6e31_cc87_d7a3_2ec7_92e7),
    (0x3ffb, 0x8000_0000_0000_0000, false, -5, 0xffaa_ddb9_67ef_4e36_cb27_92dc_0e2e_0d51),
    (0x3f00, 0x8000_0000_0000_0000, false, -255, 0x8000_0000_0000_0000_0000_0000_0000_0000),
    (0x3ffe, 0xc329_6de8_e488_b6c8, false, -1, 0xa6bf_75b5_b467_6992_a2d8_c760_bb2e_2809),
    (0x3ffe, 0xe346_f5ae_403a_960a, false, -1, 0xb9dd_66f7_6ef7_5fbd_5050_9590_52f7_4f55),
    (0x3ffe, 0x8dd4_ad2a_767d_5274, false, -1, 0x8184_9497_133d_3d73_51b1_f186_a58a_b868),
    (0x3ffe, 0xdfcb_81e0_96fa_bb7b, false, -1, 0xb7e7_802d_4ee8_b2ef_1634_c32f_d007_3c7f),
    (0x3ffd, 0xe60b_8618_c7ee_c61b, false, -2, 0xd834_b7ad_7c38_280c_71d7_dc8e_0db2_b8a0),
    (0x3ffd, 0xee0a_76ab_5e07_30b3, false, -2, 0xded1_db96_ce8f_12c9_d5f0_94a2_3240_b4ae),
    (0x3ffd, 0x84b0_57f4_4bbd_bb01, false, -2, 0x81d5_1f1d_b2fa_228f_3f0e_1375_3194_1460),
    (0x3ffd, 0xf90f_faf5_6ed7_8f5d, false, -2, 0xe7ce_b7ab_0376_25c0_0617_208d_cb5e_a9fd),
    (0x3ffc, 0x8bab_c82f_fa74_9692, false, -3, 0x8ad0_7ce8_c814_9651_d2eb_2a22_18ac_ac45),
    (0x3ffc, 0xab9d_62cd_355f_2af4, false, -3, 0xaa08_dbd1_eb63_77da_6e51_e946_62e3_da13),
    (0x3ffc, 0xce2f_98cf_834c_1b69, false, -3, 0xcb77_1fa1_939a_1217_1692_0370_afc1_cb9e),
    (0x3ffc, 0xf583_e186_5cd5_061c, false, -3, 0xf0f7_6f52_7c37_f3c5_521d_e5c3_041e_eb6f),
];
