// An image that a person chooses, drops or pastes: what the stable version and the canary say of it, and why.

import { make } from "./elements.js";

const MOST_BARS = 5;
const LARGEST_BYTES = 32 * 2 ** 20;

export class Trial {
  // ask: (path, document) -> {status, body}. model: () -> the model that is chosen, as the page has it.
  constructor(ask, model) {
    this.ask = ask;
    this.model = model;
    this.said = document.getElementById("said");
    this.answers = document.getElementById("answers");
    this.turn = 0;
    this.address = "";
    this.image = null;
    const drop = document.getElementById("drop");
    const file = document.getElementById("file");
    file.addEventListener("change", () => {
      this.take(file.files);
      file.value = ""; // else the same file, chosen again, is no change
    });
    document.getElementById("model").addEventListener("change", () => { if (this.image) this.take([this.image]); });
    drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      this.take(event.dataTransfer.files);
    });
    // A file that misses the field would be opened in this tab, in the page's place.
    for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => missed(event, drop));
    document.addEventListener("paste", (event) => {
      if (event.clipboardData?.files.length) this.take(event.clipboardData.files);
    });
  }

  async take(files) {
    const image = files?.[0];
    const model = this.model();
    if (!image || !model) return;
    if (image.size > LARGEST_BYTES) {
      this.said.textContent = `${image.name} is larger than 32 MiB. Choose a smaller image.`;
      return;
    }
    const turn = (this.turn += 1); // a later image makes an earlier one's answers void
    try {
      await this.answer(image, model, turn);
    } catch (error) {
      if (turn === this.turn) this.said.textContent = `${image.name} could not be tried: ${error.message}`;
    }
  }

  async answer(image, model, turn) {
    const encoded = await base64(image);
    if (turn !== this.turn) return;
    this.image = image;
    URL.revokeObjectURL(this.address);
    this.address = URL.createObjectURL(image);
    const labels = ["stable", "canary"].filter((label) => label in model.labels);
    const boxes = (labels.length ? labels : [""]).map((label) => new AnswerBox(model, label, this.address));
    this.answers.replaceChildren(...boxes.map((box) => box.element));
    this.said.textContent = `Asking about ${image.name}…`;
    const instance = { image_bytes: { b64: encoded } };
    const lines = await Promise.all(boxes.map((box) => box.predict(this.ask, instance)));
    if (turn !== this.turn) return;
    this.said.textContent = `${image.name}: ${lines.join("; ")}.`;
    for (const box of boxes) await box.explain(this.ask, instance);
  }
}

function missed(event, drop) {
  if (!event.dataTransfer?.types.includes("Files")) return; // text may be dropped where it is typed
  event.preventDefault();
  if (!drop.contains(event.target)) event.dataTransfer.dropEffect = "none";
}

function base64(image) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(new Error("it cannot be read. Choose an image file; a folder is none."));
    reader.readAsDataURL(image);
  });
}

class AnswerBox {
  constructor(model, label, address) {
    this.model = model;
    this.label = label;
    this.place = `v1/models/${encodeURIComponent(model.name)}`;
    this.asked = `${this.place}${label ? `/labels/${label}` : ""}`;
    this.canvas = make("canvas", { hidden: true, role: "img", "aria-label": "Heat map: where the network looked" });
    this.class = make("p", { class: "class" }, "…");
    this.bars = make("ul", { class: "bars" });
    this.why = make("p", { class: "why faint" }, "Asking where it looked…");
    this.who = make("h3", {}, label || model.name);
    this.element = make("article", { class: "answer" }, this.who, this.class,
      make("div", { class: "picture" }, make("img", { src: address, alt: "The image that was asked about" }), this.canvas),
      this.bars, this.why);
    this.element.dataset.label = label;
  }

  async predict(ask, instance) {
    const answer = await ask(`${this.asked}:predict`, { signature_name: "serving_bytes", instances: [instance] });
    const found = answer.body.predictions?.[0];
    if (answer.status !== 200 || !Array.isArray(found?.output)) {
      this.class.textContent = "no answer";
      this.class.classList.add("bad");
      this.why.textContent = String(answer.body.error ?? `It answered ${answer.status}.`);
      this.failed = true;
      return `${this.label || this.model.name} gave no answer`;
    }
    const version = answer.version;
    // Where it looked is asked of the version that answered: the label may bear another one by then.
    if (version) this.asked = `${this.place}/versions/${version}`;
    const classes = this.model.classes?.[version] ?? [];
    this.who.textContent = [this.label, version && `version ${version}`].filter(Boolean).join(", ");
    this.class.textContent = String(found.label);
    const order = found.output.map((probability, index) => [probability, index]).sort((one, other) => other[0] - one[0]);
    this.bars.replaceChildren(...order.slice(0, MOST_BARS).map(([probability, index]) => {
      const fill = make("span", { class: "fill" });
      fill.style.width = `${(100 * probability).toFixed(1)}%`;
      const name = index === found.class_id ? String(found.label) : classes[index] ?? `class ${index}`;
      return make("li", {}, fill, make("span", { class: "name" }, name), make("span", {}, `${(100 * probability).toFixed(1)} %`));
    }));
    return `${this.label || this.model.name} says ${found.label}, ${(100 * order[0][0]).toFixed(1)} %`;
  }

  async explain(ask, instance) {
    if (this.failed) return;
    const answer = await ask(`${this.asked}:explain`, { instances: [instance] });
    const map = answer.body.explanations?.[0]?.heat_map;
    if (answer.status === 404) {
      this.why.textContent = "No heat map: the version that answered is not served any more. Try the image again.";
      return;
    }
    if (answer.status !== 200 || !Array.isArray(map?.[0])) {
      const reason = answer.status === 501 || answer.status === 200 ? answer.body.error : null;
      this.why.textContent = `No heat map from this server${reason ? `: ${reason}` : "."}`;
      return;
    }
    draw(this.canvas, map);
    const box = make("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => { this.canvas.hidden = !box.checked; });
    this.canvas.hidden = false;
    this.why.replaceChildren(make("label", {}, box, " Heat map: red is what decided"));
  }
}

// heat_map: rows of numbers from 0 to 1.
function draw(canvas, map) {
  canvas.height = map.length;
  canvas.width = map[0].length;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(canvas.width, canvas.height);
  map.flat().forEach((heat, index) => {
    const clipped = Math.min(1, Math.max(0, Number(heat) || 0));
    pixels.data.set([255, Math.round(200 * (1 - clipped)), 0, Math.round(190 * clipped)], 4 * index);
  });
  context.putImageData(pixels, 0, 0);
}
