// Prints one line per check, then `N passed, N failed`.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { JSDOM } from "jsdom";

const folder = process.argv[2];
const text = readFileSync(join(folder, "README.md"), "utf8");
let passed = 0, failed = 0;

async function check(what, look) {
    let wrong;
    try {
        wrong = await look();
    } catch (error) {
        wrong = error.message;
    }
    if (wrong) failed++; else passed++;
    console.log(wrong ? `FAILED ${what}: ${wrong}` : `ok ${what}`);
}

// Mermaid sanitizes labels with the browser's DOM.
const { window } = new JSDOM("");
globalThis.window = window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");

const blocks = [...text.matchAll(/```mermaid\n([\s\S]*?)```/g)].map((found) => found[1]);
await check("there are three diagrams", () => blocks.length !== 3 && `there are ${blocks.length}`);
for (const [index, block] of blocks.entries()) {
    await check(`diagram ${index + 1} parses`, async () => void (await mermaid.parse(block)));
}

const prose = text.replace(/```[\s\S]*?```/g, "");
const anchors = new Set(
    [...prose.matchAll(/^#+ (.*)$/gm)].map((found) =>
        found[1].toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").trim().replace(/ /g, "-"),
    ),
);
const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((found) => found[1]);
await check("every internal link has a target", () =>
    links
        .filter((link) => !link.startsWith("https://"))
        .filter((link) => (link.startsWith("#") ? !anchors.has(link.slice(1)) : !existsSync(join(folder, link))))
        .join(", "),
);
await check("every external link leads to AWS", () =>
    links.filter((link) => link.startsWith("http") && !/^https:\/\/(docs\.)?aws\.amazon\.com\//.test(link)).join(", "),
);

const words = prose
    .replace(/\]\([^)]*\)/g, "]")
    .replace(/[|#*`>[\]-]/g, " ")
    .split(/\s+/)
    .filter((word) => /[\p{L}\p{N}]/u.test(word)).length;
await check(`two to four thousand words (${words})`, () => (words < 2000 || words > 4000) && `there are ${words}`);

// A quota in a table is a number with a unit. Its source must be in the same row.
await check("every row with a quota has its source", () => {
    const quota = /\d[\d,.]* ?(s|min|MB|KB|bytes|Gbps|records|(GETs|writes|reads|requests|concurrent)\b)/;
    const tables = prose.split("<!-- cost -->")[0].split("## Open questions")[0];
    return tables
        .split("\n")
        .filter((line) => line.startsWith("| ") && quota.test(line) && !line.includes("](https://"))
        .join(" / ");
});

await check("the cost table is the output of cost.py", () => {
    const made = execFileSync("python3", ["-B", join(folder, "cost.py")], { encoding: "utf8" }).trim();
    const shown = text.split("<!-- cost -->\n")[1].split("\n\n")[0];
    return made !== shown && "run cost.py and put its table below <!-- cost -->";
});

console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
