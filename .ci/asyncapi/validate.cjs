// SPDX-License-Identifier: Apache-2.0
// Validates an AsyncAPI document: node validate.cjs NODE_MODULES_PARENT DOCUMENT
// Prints one line a finding; exit status 1 when there is an error or a warning.
const { createRequire } = require("node:module");
const { readFileSync } = require("node:fs");
const { join, resolve } = require("node:path");

const [, , home, path] = process.argv;
const { Parser } = createRequire(join(resolve(home), "package.json"))("@asyncapi/parser");

(async () => {
  const { document, diagnostics } = await new Parser().parse(readFileSync(path, "utf8"));
  const names = ["error", "warning", "information", "hint"];
  for (const { severity, message, path: place } of diagnostics) {
    console.log(`${names[severity]}: ${place.join(".")}: ${message}`);
  }
  const bad = document === undefined || diagnostics.some(({ severity }) => severity < 2);
  if (!bad) console.log(`valid: AsyncAPI ${document.version()}`);
  process.exit(bad ? 1 : 0);
})();
