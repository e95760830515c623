// What is live, since when, by whom; how it answers now; the last decisions; the cards.

import { isWeb, link, make, show, table } from "./elements.js";
import { markdown } from "./markdown.js";

const MINUTE_MS = 60000;
const history = new Map(); // model -> what was observed in the last minute, oldest first

export function showModels(place, page, observed) {
  for (const model of page.models) {
    const id = `served-model-${model.name}`;
    let article = document.getElementById(id);
    if (!article) {
      article = make("article", { id, class: "model" }, make("h3", {}, model.name),
        make("div", { class: "labels" }), make("div", { class: "traffic" }));
      place.append(article);
    }
    const labelled = Object.entries(model.labels).sort(byLabel);
    const named = labelled.length ? labelled : model.versions.map((each) => ["", each.version]);
    show(article.querySelector(".labels"), [named, model.versions, model.facts?.labels, page.mlflow],
      () => named.map(([label, version]) => labelBox(model, label, version, page.mlflow)));
    if (observed.has(model.name)) showTraffic(article.querySelector(".traffic"), model, observed.get(model.name));
  }
  const names = new Set(page.models.map((model) => `served-model-${model.name}`));
  for (const article of [...place.children]) if (!names.has(article.id)) article.remove();
}

function byLabel([one], [other]) {
  const rank = (label) => ["stable", "canary"].indexOf(label) >>> 0;
  return rank(one) - rank(other) || one.localeCompare(other);
}

function labelBox(model, label, number, mlflow) {
  const version = model.versions.find((each) => each.version === number);
  const known = model.facts?.labels?.[label];
  const fact = known?.version === number ? known : null; // the file may be a pass behind
  const facts = [["state", version ? version.state : "not loaded"], ["variant", version?.variant],
    ["since", fact?.since && time(fact.since)], ["by", fact && by(fact)], ["because", fact?.reason]];
  const shown = facts.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);
  const address = isWeb(mlflow) ? `${mlflow}/#/models/${encodeURIComponent(model.name)}/versions/${number}` : null;
  const faults = (version?.faults ?? []).map((fault) => make("p", { class: "bad" }, fault));
  return make("div", { class: `label ${label === "canary" ? "canary" : ""}` },
    make("p", {}, label || "no label"), make("p", { class: "version" }, `version ${number}`),
    make("dl", {}, ...shown), ...faults,
    address && make("p", {}, link(address, `Version ${number} of ${model.name} in MLflow`)));
}

function by(fact) {
  return [fact.actor, fact.origin && `(${fact.origin})`].filter(Boolean).join(" ");
}

function time(text) {
  const at = new Date(text);
  return Number.isNaN(at.getTime()) ? text : at.toLocaleString();
}

function showTraffic(place, model, observations) {
  const now = Date.now();
  const seen = (history.get(model.name) ?? [])
    .filter((each) => each.server === observations.server && now - each.at <= MINUTE_MS);
  seen.push({ at: now, server: observations.server, versions: observations.versions });
  history.set(model.name, seen);
  const recent = observations.versions.map((each) => since(seen[0].versions.find((old) => old.version === each.version), each));
  const all = recent.reduce((sum, each) => sum + each.requests, 0);
  const rows = observations.versions.map((each, index) => {
    const last = recent[index];
    const used = last.counts.some(Boolean) ? last.counts : each.latency_ms.counts;
    return [`version ${each.version}${each.label ? `, ${each.label}` : ""}`, String(each.requests), String(each.errors),
      all ? `${Math.round((100 * last.requests) / all)} %` : "–",
      quantile(each.latency_ms.bounds, used, 0.5), quantile(each.latency_ms.bounds, used, 0.95)];
  });
  const split = model.traffic.canary || model.traffic.shadow
    ? ` Set: canary ${model.traffic.canary} %, shadow ${model.traffic.shadow} %.` : "";
  const told = `Requests that named no version. Share, p50 and p95 are of the last minute, or of all if it had none.${split}`;
  show(place, [rows, told], () => [make("p", { class: "faint" }, told),
    table(`Traffic of ${model.name}`, ["version", "requests", "errors", "share", "p50 ms", "p95 ms"], rows)]);
}

function since(old, each) {
  const before = old && old.requests <= each.requests ? old : { requests: 0, latency_ms: { counts: [] } };
  const counts = each.latency_ms.counts.map((count, index) => count - (before.latency_ms.counts[index] ?? 0));
  return { requests: each.requests - before.requests, counts };
}

function quantile(bounds, counts, share) {
  const all = counts.reduce((sum, count) => sum + count, 0);
  if (!all) return "–";
  let sum = 0;
  const place = counts.findIndex((count) => (sum += count) >= share * all);
  const bound = bounds[Math.min(place, bounds.length - 1)];
  return bound < 10 ? bound.toFixed(2) : bound.toFixed(0);
}

export function showLedger(place, page) {
  const entries = page.models.flatMap((model) => (model.facts?.ledger ?? []).map((each) => ({ model: model.name, ...each })));
  entries.sort((one, other) => other.id - one.id);
  const last = entries.slice(0, 10);
  const open = new Set([...place.querySelectorAll("details[open]")].map((each) => each.dataset.id));
  show(place, last, () => last.length ? last.map((each) => entryBox(each, open)) : [make("p", { class: "faint" }, "None is known here.")]);
}

function entryBox(entry, open) {
  const versions = `${entry.from_version === null ? "none" : `version ${entry.from_version}`} → ` +
    `${entry.to_version === null ? "none" : `version ${entry.to_version}`}`;
  const box = make("details", { open: open.has(String(entry.id)) },
    make("summary", {}, `${time(entry.time)}: ${entry.action}, ${entry.model} ${entry.alias}, ${versions}, by ${entry.actor}`),
    make("p", {}, `Caused by: ${entry.origin}. ${entry.reason}`),
    make("p", {}, `Gate: ${entry.gate}.`), rules(entry));
  box.dataset.id = String(entry.id);
  return box;
}

function rules(entry) {
  if (!Array.isArray(entry.rules) || !entry.rules.length) return null;
  const number = (value) => (typeof value === "number" ? String(Number(value.toPrecision(4))) : "missing");
  const rows = entry.rules.map((rule) => [String(rule.rule), number(rule.measured), `${rule.relation} ${number(rule.limit)}`,
    make("span", { class: rule.passed ? "good" : "bad" }, rule.passed ? "pass" : "REFUSE"), String(rule.note ?? "")]);
  return table(`Gate of entry ${entry.id}`, ["rule", "measured", "wanted", "verdict", "note"], rows, 9);
}

export function showCards(place, page) {
  const cards = page.models.flatMap((model) => Object.entries(model.facts?.cards ?? {})
    .map(([version, text]) => [model.name, version, text, model.facts.runs?.[version]]));
  const open = new Set([...place.querySelectorAll("details[open]")].map((each) => each.dataset.id));
  show(place, [cards, page.mlflow], () => cards.length ? cards.map(([name, version, text, run]) => {
    const id = `${name} version ${version}`;
    const address = isWeb(page.mlflow) && run ? `${page.mlflow}/#/runs/${encodeURIComponent(run)}` : null;
    const box = make("details", { open: open.has(id) }, make("summary", {}, id),
      address && make("p", {}, link(address, `Run of ${id} in MLflow, with its pictures`)), ...markdown(text, 3, id));
    box.dataset.id = id;
    return box;
  }) : [make("p", { class: "faint" }, "None is known here.")]);
}
