// Charts: specifications that were made with the page, and rows that are put into them. No code is made of text: Vega
// interprets its expressions.
const views = new WeakMap();
let specifications = {};

const titled = (value, titles) => {
  if (typeof value === "string") return Object.hasOwn(titles, value) ? titles[value] : value;
  if (Array.isArray(value)) return value.map((inner) => titled(inner, titles));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, titled(inner, titles)]));
  }
  return value;
};
const draw = async (host, name, rows, { titles = {}, description = null, opens = null, change = null } = {}) => {
  views.get(host)?.finalize();
  const specification = titled(specifications[name], titles);
  specification.datasets = { rows };
  if (description) specification.description = description;
  if (change) change(specification);
  const result = await vegaEmbed(host, specification, {
    mode: "vega-lite", ast: true, renderer: "svg", actions: false, defaultStyle: false, logLevel: 1,
    tooltip: { disableDefaultStyle: true },
  });
  views.set(host, result);
  host.removeAttribute("aria-busy");
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", specification.description || name);
  if (host.scrollWidth > host.clientWidth) host.tabIndex = 0;
  if (opens) result.view.addEventListener("click", (event, item) => { if (item?.datum?.cell !== undefined) opens(item.datum.cell); });
  return result;
};
// Draws what is seen at once, and the rest when there is time, so that it is there in print.
const waiting = [];
const later = (host, drawing) => { host.setAttribute("aria-busy", "true"); waiting.push([host, drawing]); };
const drawWaiting = async () => {
  while (waiting.length) {
    const seen = waiting.findIndex(([host]) => host.getBoundingClientRect().top < innerHeight * 1.5);
    const [[host, drawing]] = waiting.splice(Math.max(seen, 0), 1);
    try { await drawing(); } catch (error) { host.textContent = `This picture could not be drawn: ${error.message}`; }
    await new Promise((done) => (window.requestIdleCallback || setTimeout)(done, { timeout: 200 }));
  }
  document.documentElement.dataset.drawn = "yes";
};
