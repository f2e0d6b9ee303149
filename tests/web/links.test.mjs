/** Where links of a program are said to go. */

import assert from "node:assert/strict";
import test from "node:test";
import { destination } from "../../web/page/links.js";

test("a link says the host that is asked, whatever it looks like", () => {
  for (const [text, host] of [
    ["https://example.com/path?q#f", "example.com"],
    ["https://bank.example@evil.example/", "evil.example"],
    ["https://bank.example:pw@evil.example/", "evil.example"],
    ["https://bank.example\\@evil.example/", "bank.example"],
    ["https:evil.example", "evil.example"],
    ["https://ex\u0430mple.com/", "xn--exmple-4nf.com"], // a Cyrillic letter
    ["HTTP://EXAMPLE.com:8080", "example.com:8080"],
  ]) {
    const where = destination(text);
    assert.equal(where?.host, host);
    assert.match(where?.shown ?? "", new RegExp(`^https?://${host?.replaceAll(".", "\\.")}/`));
    assert.equal(where?.shown, where?.href);
  }
});

test("a link that runs a script or opens a file or an app is none", () => {
  for (const text of [
    "javascript:alert(1)",
    "data:text/html,<script>",
    "file:///etc/passwd",
    "blob:https://example.com/1",
    "mailto:a@example.com",
    "//example.com",
    "",
    "https://",
  ])
    assert.equal(destination(text), undefined);
});

test("no link shows characters that turn or hide others", () => {
  const where = destination("https://example.com/\u202egnp.exe\u200b\u0007");
  assert.match(where?.shown ?? "", /^[!-~]+$/);
});

test("a long link shows where it goes and how it ends", () => {
  const where = destination(`https://evil.example/${"a".repeat(5000)}#end`);
  assert.ok(where && where.shown.length < 320);
  assert.match(where.shown, /^https:\/\/evil\.example\/a+ … a+#end$/);
});
