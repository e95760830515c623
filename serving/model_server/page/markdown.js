// A model card's Markdown: headings, paragraphs, tables, lists, code. What else there is stays text.

import { isWeb, link, make, table } from "./elements.js";

// name: what the card is of, for whoever hears the page. level: of its first heading.
export function markdown(text, level, name) {
  const lines = String(text).split(/\r?\n/);
  const found = [];
  let title = "";
  const region = () => `${name}, ${title}, ${found.length}`;
  for (let at = 0; at < lines.length;) {
    const line = lines[at];
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (/^```/.test(line)) {
      const end = lines.findIndex((each, place) => place > at && /^```/.test(each));
      const until = end < 0 ? lines.length : end;
      const code = make("code", {}, lines.slice(at + 1, until).join("\n"));
      found.push(make("pre", { tabIndex: 0, role: "region", "aria-label": region() }, code));
      at = until + 1;
    } else if (heading) {
      title = heading[2];
      found.push(make(`h${Math.min(6, level + Math.min(heading[1].length, 2) - 1)}`, {}, ...inline(title)));
      at += 1;
    } else if (/^\|/.test(line)) {
      const rows = [];
      for (; at < lines.length && /^\|/.test(lines[at]); at += 1) rows.push(cells(lines[at]));
      const body = rows.slice(1).filter((row) => !row.every((cell) => /^:?-+:?$/.test(cell)));
      const wrapped = (row) => row.map((cell) => make("span", {}, ...inline(cell)));
      found.push(table(region(), rows[0], body.map(wrapped), rows[0].length));
    } else if (/^- /.test(line)) {
      const items = [];
      for (; at < lines.length && /^(- | {2,}\S)/.test(lines[at]); at += 1) {
        if (lines[at].startsWith("- ")) items.push(lines[at].slice(2));
        else items[items.length - 1] += ` ${lines[at].trim()}`;
      }
      found.push(make("ul", {}, ...items.map((item) => make("li", {}, ...inline(item)))));
    } else if (line.trim() === "") {
      at += 1;
    } else {
      const paragraph = [];
      for (; at < lines.length && lines[at].trim() && !/^(#{1,6}\s|```|\||- )/.test(lines[at]); at += 1) {
        paragraph.push(lines[at].trim());
      }
      if (!paragraph.length) paragraph.push(lines[at++]);
      found.push(make("p", {}, ...inline(paragraph.join(" "))));
    }
  }
  return found;
}

function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/\|$/, "");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replace(/\\\|/g, "|"));
}

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&" };

// A mark that a backslash or an entity stands for is itself, and begins nothing.
function inline(text) {
  return text.split(/(\\[!-/:-@[-`{-~]|&(?:lt|gt|amp);|`[^`]+`|\[[^\]]+\]\([^)\s]+\))/).map((part) => {
    if (/^\\.$/.test(part)) return part[1];
    if (part in ENTITIES) return ENTITIES[part];
    if (/^`[^`]+`$/.test(part)) return make("code", {}, part.slice(1, -1));
    const found = /^\[([^\]]+)\]\(([^)\s]+)\)$/.exec(part);
    return found && isWeb(found[2]) ? link(found[2], found[1]) : part;
  });
}
