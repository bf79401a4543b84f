// Elements are made here, of text and of attributes that do nothing: whatever data says, it is text.
const SVG = "http://www.w3.org/2000/svg";
const QUIET = /^(class|id|type|role|for|scope|tabindex|title|lang|alt|src|colspan|hidden|value|name|href|d|x|y|x1|x2|y1|y2|rx|width|height|fill|viewBox|transform|text-anchor|marker-end|(aria|data)-[a-z-]+)$/;

const set = (element, attributes) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (!QUIET.test(name)) throw new Error(`attribute ${name}`);
    if (name === "href" && !String(value).startsWith("#")) throw new Error("links lead into the page only");
    if (name === "src" && !String(value).startsWith("data:image/png;base64,")) throw new Error("pictures are in the page");
    element.setAttribute(name, value === true ? "" : value);
  }
};
const fill = (element, children) => {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child instanceof Node ? child : String(child));
  }
  return element;
};
const el = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  set(element, attributes);
  return fill(element, children);
};
const svg = (tag, attributes = {}, ...children) => {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  return fill(element, children);
};
const by = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

const points = (value) => (value === null || value === undefined ? "" : (Math.round(value * 1000) / 10 + 0).toFixed(1));
const signed = (value) => (value > 0 ? "+" : "") + points(value);
const short = (value) => {
  if (value === null || value === undefined) return "";
  for (const [letter, size] of [["T", 1e12], ["G", 1e9], ["M", 1e6], ["k", 1e3]]) {
    if (Math.abs(value) >= size) return `${Number((value / size).toPrecision(3))} ${letter}`;
  }
  return String(Number(value.toPrecision(3)));
};
const seconds = (value) => {
  if (value === null || value === undefined) return "";
  if (value < 90) return `${value.toFixed(value < 10 ? 1 : 0)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${(value / 3600).toFixed(1)} h`;
};
const announce = (text) => { by("#said").textContent = text; };

// A table of texts: headings, rows of cells, and what it is called.
const table = (caption, headings, rows, numbers = new Set()) => {
  const head = el("tr", {}, headings.map((text) => el("th", { scope: "col" }, text)));
  const body = rows.map((row) => el("tr", {}, row.map((value, i) =>
    i === 0 ? el("th", { scope: "row" }, value) : el("td", { class: numbers.has(i) ? "number" : null }, value))));
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    el("table", {}, el("caption", {}, caption), el("thead", {}, head), el("tbody", {}, body)));
};
const copier = (text, what) => {
  const button = el("button", { type: "button", class: "copy", "aria-label": `Copy ${what}` }, "copy");
  button.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(text); button.textContent = "copied"; } catch { button.textContent = "select it"; }
    announce(`${what}: ${button.textContent}`);
  });
  return button;
};
