import js from "@eslint/js";
import globals from "globals";

export default [
  {
    ignores: [
      "tools/default_image/files/",
      "dist/",
      "build/",
      "node_modules/",
      ".venv/",
      "tests/.out/",
    ],
  },
  js.configs.recommended,
  {
    rules: {
      eqeqeq: "error",
      "no-var": "error",
      "prefer-const": "error",
      "no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
    },
  },
  {
    files: ["web/**/*.js", "benchmarks/**/*.js"],
    languageOptions: { globals: globals.browser },
  },
  {
    files: ["web/**/*.js"],
    rules: {
      "no-restricted-syntax": [
        "error",
        {
          selector: ":function MetaProperty[meta.name='import']",
          message:
            "Ask for import.meta at the top of the module: where a worker that is being ended asks for it first, Chromium's tab crashes.",
        },
      ],
    },
  },
  {
    files: ["**/worker.js", "web/vm/*.js"],
    languageOptions: { globals: { ...globals.browser, ...globals.worker } },
  },
  { files: ["**/*.mjs", "*.js"], languageOptions: { globals: globals.node } },
  {
    files: ["**/*.cjs"],
    languageOptions: { sourceType: "commonjs", globals: globals.node },
  },
];
