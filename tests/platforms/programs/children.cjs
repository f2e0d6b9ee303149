// Processes of Node, one after the other and at the same time.
const { execFile, execSync } = require("node:child_process");
const { promisify } = require("node:util");

console.log(execSync("echo from a shell").toString().trim());
const results = [1, 2].map((number) => promisify(execFile)("expr", [`${number}`, "+", "40"]));
Promise.all(results).then((done) => console.log(done.map(({ stdout }) => Number(stdout))));
