// Loaded into Azurite by `node --require`. Ends it when the process that started it is gone, which closes its standard
// input, and removes the folder of that process, because nobody else is left to do it: it holds private keys.
const { rmSync } = require("fs");

process.stdin.on("end", () => {
  rmSync(process.env.PARENT_FOLDER, { recursive: true, force: true });
  process.exit(1);
});
process.stdin.resume();
if (process.stdin.unref) process.stdin.unref();
