// Elements made of text: nothing that a server or a person wrote is ever read as HTML.

export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") element.className = value;
    else if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// name: for whoever hears the page. numbers: the first column of numbers.
export function table(name, headings, rows, numbers = 1) {
  const kind = (index) => (index >= numbers ? "number" : "");
  const head = make("tr", {}, ...headings.map((text, index) => make("th", { scope: "col", class: kind(index) }, text)));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, index) =>
    index === 0 ? make("th", { scope: "row" }, cell) : make("td", { class: kind(index) }, cell))));
  const whole = make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
  // A wide table is scrolled within itself, also by keys.
  return make("div", { class: "wide", tabIndex: 0, role: "region", "aria-label": name }, whole);
}

export function link(address, text) {
  return make("a", { href: address, target: "_blank", rel: "noopener noreferrer" }, text);
}

export function isWeb(address) {
  return typeof address === "string" && /^https?:\/\//i.test(address);
}

// Puts in what is new, and nothing where the same is there: what has the focus keeps it.
const shown = new WeakMap();
export function show(place, what, build) {
  const text = JSON.stringify(what);
  if (shown.get(place) === text) return;
  shown.set(place, text);
  place.replaceChildren(...build());
}
