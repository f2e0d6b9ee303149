// The site's vendor/ folder holds modules of npm packages: see tools/build_site.py.

declare module "*/vendor/xterm.mjs" {
  export * from "@xterm/xterm";
}
declare module "*/vendor/addon-serialize.mjs" {
  export * from "@xterm/addon-serialize";
}
declare module "*/vendor/addon-fit.mjs" {
  export * from "@xterm/addon-fit";
}
declare module "*/vendor/xterm-pty.mjs" {
  export * from "xterm-pty";
}
declare module "*/vendor/wasi-shim.mjs" {
  export * from "@bjorn3/browser_wasi_shim";
}
