// Asks the server again and again, and shows what it says; nothing is asked of anybody else.

import { make, show } from "./elements.js";
import { showCards, showLedger, showModels } from "./live.js";
import { Trial } from "./trial.js";

const EVERY_MS = 1500;
const FACTS_EVERY_MS = 6000;
const TOKEN = "slipway.token";
const at = (id) => document.getElementById(id);

let page = { models: [], mlflow: null, missing: "" };
let listing = "";
let asked = 0;
let timer = 0;

class DeniedError extends Error {}

async function fetched(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
  const body = await response.json().catch(() => ({}));
  if (response.status === 401 || response.status === 403) throw new DeniedError(token ? body.error : "");
  return { status: response.status, body, version: response.headers.get("x-slipway-version") };
}

async function ask(path, document) {
  try {
    return await fetched(path, { method: "POST", body: JSON.stringify(document) });
  } catch (error) {
    if (error instanceof DeniedError) deny(error);
    return { status: 0, body: { error: error.message || "The server does not answer." }, version: null };
  }
}

function deny(error) {
  at("door").hidden = false;
  tell("denied", error.message);
}

async function look() {
  const listed = await fetched("v1/models");
  const text = JSON.stringify(listed.body);
  if (text !== listing || Date.now() - asked > FACTS_EVERY_MS) {
    const found = await fetched("v1/page");
    if (found.status === 200) page = found.body;
    listing = text;
    asked = Date.now();
  }
  const observed = new Map(await Promise.all(page.models.map(async (model) => {
    const answer = await fetched(`v1/models/${encodeURIComponent(model.name)}/observations`);
    return [model.name, answer.status === 200 ? answer.body : null];
  })));
  for (const [name, found] of observed) if (!found) observed.delete(name);
  showAll(observed);
}

function showAll(observed) {
  at("door").hidden = true;
  at("main").classList.remove("waiting");
  at("missing").hidden = !page.missing;
  show(at("missing"), page.missing, () => [page.missing]);
  showModels(at("live"), page, observed);
  showLedger(at("ledger"), page);
  showCards(at("cards"), page);
  showChoice();
  const live = page.models.filter((model) => model.versions.some((each) => each.state === "AVAILABLE")).length;
  say(`Models that answer: ${live} of ${page.models.length}.`);
}

function showChoice() {
  const names = page.models.map((model) => model.name);
  at("model-choice").hidden = names.length < 2;
  const chosen = at("model").value;
  show(at("model"), names, () => names.map((name) => make("option", { value: name, selected: name === chosen }, name)));
}

// What is said anew is read out anew: only where it is another.
function tell(id, text) {
  if (at(id).textContent !== text) at(id).textContent = text;
}

function say(text) {
  tell("state", text);
}

async function turn() {
  clearTimeout(timer);
  try {
    if (!document.hidden) await look();
  } catch (error) {
    if (error instanceof DeniedError) {
      deny(error);
      say("The server asks for a token.");
      return; // until the form is sent: each further question would be one more denial on the server's record
    }
    say("The server does not answer now. This page goes on asking.");
  }
  timer = setTimeout(turn, EVERY_MS);
}

at("door").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = at("token").value.trim();
  at("token").value = "";
  if (!/^[\x21-\x7e]+$/.test(token)) { // a header cannot carry it: no question would leave the browser
    tell("denied", "This is no token: it has blanks, or characters that are not plain ASCII. Copy it anew.");
    return;
  }
  sessionStorage.setItem(TOKEN, token);
  turn();
});

new Trial(ask, () => page.models.find((model) => model.name === at("model").value) ?? page.models[0]);
turn();
