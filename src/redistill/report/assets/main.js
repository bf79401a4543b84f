// The page as it opens: tables come alive, pictures are drawn, numbers open.
let overview = null;

const select = (label, options, change) => {
  const box = el("select", {}, options.map(([value, text]) => el("option", { value }, text)));
  box.addEventListener("change", () => change(box.value));
  return [el("label", {}, label, " ", box), box];
};
const barRows = (of, column) => of.rows.flatMap((row) => {
  const cell = overview.cells[row.cells[column]];
  return cell ? [{ label: row.label, role: row.role, y: 100 * cell.mean, low: 100 * (cell.low ?? cell.mean), high: 100 * (cell.high ?? cell.mean),
    shown: shown(cell), published: cell.published ?? null, cell: row.cells[column] }] : [];
});
const tall = (height) => (specification) => { specification.height = Math.max(40, height); };
const MOST_BARS = 60;
const distinct = (rows) => { // rows of the same label are told apart
  const seen = new Map();
  return rows.map((row) => {
    const n = (seen.get(row.label) ?? 0) + 1;
    seen.set(row.label, n);
    return n > 1 ? { ...row, label: `${row.label} (${n})` } : row;
  });
};
const drawBars = (figure) => {
  const of = overview.tables[Number(figure.dataset.table)], host = by(".chart", figure), tools = by(".tools", figure);
  const columns = of.columns.filter((one) => of.rows.some((row) => row.cells[one.key] !== undefined));
  if (!columns.length) { figure.remove(); return; }
  const show = (key) => {
    const column = columns.find((one) => one.key === key);
    let rows = distinct(barRows(of, key));
    const cut = rows.length - MOST_BARS;
    if (cut > 0) rows = [...rows].sort((a, b) => b.y - a.y).slice(0, MOST_BARS);
    by(".note", figure).textContent = cut > 0 ? `The best ${MOST_BARS} of ${rows.length + cut} rows.` : "";
    return draw(host, "bars", rows, { titles: { "{y}": `${column.heading}, ${column.metric} × 100` }, opens: openCell,
      description: `${of.title}, ${column.heading}: ${rows.length} rows with 95 % intervals`, change: tall(rows.length * 19) });
  };
  if (columns.length > 1) tools.append(select("Column", columns.map((one) => [one.key, one.heading]), show)[0]);
  later(host, () => show(columns[0].key));
};

const MEASURES = [
  ["parameters", "parameters", (row) => row.parameters], ["operations", "operations of one example", (row, column) => row.operations?.[column]],
  ["bytes", "bytes of the weights", (row) => row.bytes], ["milliseconds", "milliseconds for one batch", (row) => row.speed?.[0]?.milliseconds],
  ["throughput", "milliseconds an example, at full throughput", (row) => row.speed?.[0]?.per_second && 1000 / row.speed[0].per_second],
  ["seconds", "seconds to train, mean of its runs", (row) => row.seconds],
];
const paretoRows = (of, column, of_) => {
  const rows = distinct(of.rows.flatMap((row) => {
    const cell = overview.cells[row.cells[column]], x = of_(row, column);
    return cell && x > 0 ? [{ label: row.label, role: row.role, x, y: 100 * cell.mean, low: 100 * (cell.mean - (cell.std ?? 0)), high: 100 * (cell.mean + (cell.std ?? 0)),
      shown: shown(cell), cost: short(x), cell: row.cells[column] }] : [];
  }));
  if (!rows.length) return rows;
  let best = -Infinity;
  for (const row of [...rows].sort((a, b) => a.x - b.x || b.y - a.y)) { row.front = row.y > best; best = Math.max(best, row.y); }
  // names stand where none lies on another; of many rows, only those of the front
  const [low, high] = [Math.min(...rows.map((row) => row.low)), Math.max(...rows.map((row) => row.high))];
  const [least, most] = [Math.min(...rows.map((row) => row.x)), Math.max(...rows.map((row) => row.x))];
  const apart = Math.max(high - low, 1e-9) * 0.05, last = { left: Infinity, right: Infinity };
  for (const row of [...rows].sort((a, b) => b.y - a.y)) {
    if (!row.front && rows.length > 14) continue;
    row.side = most > least && Math.log(row.x / least) / Math.log(most / least) >= 0.6 ? "right" : "left";
    row.at = last[row.side] = Math.min(row.y, last[row.side] - apart);
  }
  return rows;
};
const differ = (of, column, of_) => new Set(of.rows.map((row) => (row.cells[column] === undefined ? 0 : of_(row, column) ?? 0)).filter((x) => x > 0)).size > 1;
const drawPareto = (figure) => {
  const host = by(".chart", figure), tools = by(".tools", figure);
  const choices = overview.tables.flatMap((of, i) => of.columns.map((one) => [`${i}/${one.key}`, `${of.title}: ${one.heading}`]))
    .filter(([value]) => { const [i, key] = [value.slice(0, value.indexOf("/")), value.slice(value.indexOf("/") + 1)];
      return MEASURES.some(([, , of_]) => differ(overview.tables[i], key, of_)); });
  if (!choices.length) { figure.closest("section").querySelector(".note").textContent = "Of no column two models of different size are known here."; figure.remove(); return; }
  let [place, measure] = [choices[0][0], null], measureBox = null;
  const split = () => [overview.tables[Number(place.slice(0, place.indexOf("/")))], place.slice(place.indexOf("/") + 1)];
  const possible = () => { const [of, column] = split(); return MEASURES.filter(([, , of_]) => differ(of, column, of_)); };
  const show = () => {
    const [of, column] = split(), there = possible();
    if (!there.some(([name]) => name === measure)) measure = there[0]?.[0];
    measureBox.replaceChildren(...there.map(([name, text]) => el("option", { value: name }, text)));
    measureBox.value = measure;
    const [, words, of_] = there.find(([name]) => name === measure), heading = of.columns.find((one) => one.key === column);
    const rows = paretoRows(of, column, of_);
    return draw(host, "pareto", rows, { titles: { "{x}": words, "{y}": `${heading.heading}, ${heading.metric} × 100` }, opens: openCell,
      description: `${heading.heading} against ${words}: ${rows.filter((row) => row.front).map((row) => row.label).join(", ")} are on the front` });
  };
  const [columnLabel] = select("Score", choices, (value) => { place = value; show(); });
  const [measureLabel, box] = select("Cost", [], (value) => { measure = value; show(); });
  measureBox = box;
  tools.append(columnLabel, measureLabel);
  later(host, show);
};
const drawGaps = (figure) => {
  const host = by(".chart", figure), every = JSON.parse(figure.dataset.rows), tables = [...new Set(every.map((row) => row.table))];
  const show = (table) => {
    const rows = distinctIn(every.filter((row) => row.table === table));
    return draw(host, "gap", rows, { description: `Share of the gap that is closed: ${rows.map((row) => `${row.label}, ${row.column}: ${row.said}`).join("; ")}`.slice(0, 2000),
      change: tall(new Set(rows.map((row) => row.label)).size * (14 + 14 * new Set(rows.map((row) => row.column)).size)) });
  };
  if (tables.length > 1) by(".tools", figure).append(select("Table", tables.map((one) => [one, one]), show)[0]);
  later(host, () => show(tables[0]));
};
const MOST_GAPS = 100;
const distinctIn = (rows) => [...rows].sort((a, b) => b.share - a.share).slice(0, MOST_GAPS).sort((a, b) => rows.indexOf(a) - rows.indexOf(b));
const drawPairs = (figure) => {
  const host = by(".chart", figure), tools = by(".tools", figure), names = Object.keys(overview.pairs);
  if (!names.length) { figure.remove(); return; }
  const labelled = names.map((name) => {
    const at = name.lastIndexOf("/"), of = overview.tables.find((one) => one.name === name.slice(0, at));
    return [name, of, of.columns.find((one) => one.key === name.slice(at + 1))];
  });
  const show = (name) => {
    const [, of, column] = labelled.find(([other]) => other === name);
    const label = new Map(distinct(of.rows.map((row) => ({ label: row.label, name: row.name }))).map((row) => [row.name, row.label]));
    const order = [...new Set(overview.pairs[name].flatMap((one) => [one.a, one.b]))];
    const rows = overview.pairs[name].flatMap((one) => [[one.a, one.b, 1], [one.b, one.a, -1]].map(([a, b, sign]) => ({
      a: label.get(a), b: label.get(b), place_a: order.indexOf(a), place_b: order.indexOf(b), kind: one.p >= 0.05 ? "may be chance" : sign > 0 ? "better" : "worse", text: signed(sign * one.difference),
      said: `${signed(sign * one.difference)} points, 95 % from ${signed(sign > 0 ? one.low : -one.high)} to ${signed(sign > 0 ? one.high : -one.low)}, ${one.p < 0.001 ? "p < 0.001" : `p = ${one.p.toFixed(3)}`}${one.seeds < 5 ? `, only ${one.seeds} ${one.seeds > 1 ? "seeds" : "seed"}` : ""}`,
    })));
    return draw(host, "pairs", rows, { description: `${column.heading}: every row against every other`, change: tall(order.length * 26) });
  };
  if (names.length > 1) tools.append(select("Column", labelled.map(([name, of, column]) => [name, `${of.title}: ${column.heading}`]), show)[0]);
  later(host, () => show(names[0]));
};
const drawMaking = (figure, making) => {
  const nodes = making.kinds.map((one) => ({ id: one.kind, kind: one.kind, head: one.kind, lines: [`${one.things} ${one.things > 1 ? "things" : "thing"}`, one.seconds ? seconds(one.seconds) : "no times here"] }));
  by(".dag", figure).replaceChildren(graph(nodes, making.edges.map(([from, to]) => [from, to]), "The study by kinds of things, with how many there are and how long they took", 104));
  const host = by(".chart", figure);
  if (!making.bars.length) { host.remove(); return; }
  const lanes = Math.max(...making.bars.map((one) => one.lane));
  later(host, () => draw(host, "making", making.bars, { description: `${making.bars.length} things, who was made when`,
    change: (specification) => { specification.height = Math.max(40, lanes * Math.min(24, 600 / lanes)); } }));
};
const start = async () => {
  try {
    const [found, making] = await Promise.all([load("overview"), load("making")]);
    overview = found; specifications = found.specifications;
    enlivenDialog();
    all("table.sortable").forEach(enliven);
    all("button[data-cell]").forEach((button) => button.addEventListener("click", () => openCell(Number(button.dataset.cell))));
    document.documentElement.dataset.ready = "yes";
    all("figure[data-draws=bars]").forEach(drawBars);
    all("figure[data-draws=gap]").forEach(drawGaps);
    all("figure[data-draws=pareto]").forEach(drawPareto);
    all("figure[data-draws=pairs]").forEach(drawPairs);
    all("figure[data-draws=making]").forEach((figure) => drawMaking(figure, making));
    for (const button of all("button[data-copies]")) button.replaceWith(copier(button.dataset.copies, button.dataset.what));
    addEventListener("hashchange", openAddressed);
    addEventListener("beforeprint", () => all("main details").forEach((one) => { one.open = true; }));
    openAddressed();
    await drawWaiting();
  } catch (error) {
    by("#trouble").hidden = false;
    by("#trouble-said").textContent = error.message;
    throw error;
  }
};
start();
