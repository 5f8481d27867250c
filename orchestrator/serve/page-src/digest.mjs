// Writes ../page/sources.sha256: a test compares it with the sources, so that nobody forgets to build.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";

const names = ["index.html", "package-lock.json", "vite.config.ts", ...readdirSync("src").map((name) => `src/${name}`)].sort();
const digest = createHash("sha256");
for (const name of names) digest.update(`${name}\0`).update(readFileSync(name)).update("\0");
writeFileSync("../page/sources.sha256", `${digest.digest("hex")}\n`);
