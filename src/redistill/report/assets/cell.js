// What opens behind a number: a dialog with its runs, training, config, predictions, chain, and what to type.
const NO_STORE = "Not in the store where this page was made.";
let opener = null, current = null;

const where = (cell) => {
  const of = overview.tables[cell.table];
  return { table: of, row: of.rows[cell.row], column: of.columns.find((one) => one.key === cell.column) };
};
const shown = (cell) => `${points(cell.mean)}${cell.std === null ? "" : ` ± ${points(cell.std)}`} (${cell.n_seeds})`;
const addressOf = (cell) => {
  const { table: of, row } = where(cell);
  return `#${["cell", of.name, row.name, cell.column].map(encodeURIComponent).join("&")}`;
};

const runsTab = (cell, found) => {
  const { column } = where(cell);
  const interval = cell.low === null ? null : `, 95 % interval of the mean ${points(cell.low)} to ${points(cell.high)}`;
  const fields = [["score", "score × 100", points], ["parameters", "parameters", short], ["bytes", "bytes", (v) => v && `${short(v)}B`],
    ["steps", "steps", short], ["seconds", "made in", seconds], ["core_seconds", "core-seconds", short], ["memory", "peak MiB", String],
    ["joules", "joules", short], ["resumed", "resumed", String], ["attempts", "failed before", String]];
  const there = fields.filter(([name]) => found.runs.some((run) => run[name] !== undefined && run[name] !== null && (run[name] !== 0 || name === "score")));
  const rows = found.runs.map((run) => [`seed ${run.seed}`,
    ...there.map(([name, , say]) => (run[name] === undefined || run[name] === null ? "" : say(run[name]))), el("code", {}, run.key)]);
  return [
    el("p", {}, el("strong", {}, shown(cell)), ` ${column.metric} on ${cell.n_examples} examples of dev, times 100`, interval, "."),
    table("Runs behind this number", ["run", ...there.map(([, head]) => head), "key"], rows, new Set(there.map((_, i) => i + 1))),
    found.runs.length > 1 ? el("p", { class: "dim" }, "± is the standard deviation over the seeds; the interval is Student's t.") : null,
  ];
};
const curveRows = (curves, pick) => curves.flatMap((run) => pick(run).flatMap(([series, line]) =>
  line.map(([step, value]) => ({ step, value, series, seed: run.seed }))));
const curvesTab = (cell, found) => {
  const curves = found.curves ?? [];
  if (!curves.length) return [el("p", {}, found.runs.length ? `No log: a baseline has none. ${NO_STORE}` : NO_STORE)];
  const drawn = [];
  const chart = (head, rows, title) => {
    if (!rows.length) return;
    const host = el("div", { class: "chart" });
    drawn.push(el("figure", {}, el("figcaption", {}, head), host));
    queueMicrotask(() => draw(host, "lines", rows, { titles: { "{y}": title }, description: `${head}, ${rows.length} points` }));
  };
  chart("Loss and its terms", curveRows(curves, (run) => Object.entries(run.loss)), "loss");
  chart("Metric that the checkpoint was chosen by", curveRows(curves, (run) => ["select", "dev"].filter((split) => run[split]).map((split) => [split, run[split]])), "score");
  chart("Learning rate", curveRows(curves.slice(0, 1), (run) => [["learning rate", run.rate]]), "rate");
  return [el("p", { class: "dim" }, `A line a seed (${curves.map((run) => run.seed).join(", ")}).`), drawn];
};
const configTab = (cell, found) => {
  if (!found.config) return [el("p", {}, NO_STORE)];
  const differs = found.differs;
  const said = differs === undefined ? el("p", {}, "There is no row above with a number in this column.")
    : !differs.length ? el("p", {}, "The row above has the same config.")
      : table("What differs from the row above", ["key", "row above", "here"], differs.map(([key, old, now]) => [el("code", {}, key), old === "" ? "–" : el("code", { class: "old" }, old), now === "" ? "–" : el("code", { class: "new" }, now)]));
  return [said, el("details", {}, el("summary", {}, `The whole config, ${found.config.length} values`),
    table("Resolved config", ["key", "value"], found.config.map(([key, value]) => [el("code", {}, key), el("code", {}, value)])))];
};
const predictionsTab = (cell, found) => {
  const drawn = [], beside = [];
  const add = (head, host, note) => drawn.push(el("figure", {}, el("figcaption", {}, head), host, note ? el("p", { class: "dim" }, note) : null));
  const { confusion, calibration, scatter } = found;
  if (confusion?.labels.length) {
    const long = confusion.labels.some((label) => label.length > 4), sums = confusion.counts.map((row) => row.reduce((a, b) => a + b, 0));
    const rows = confusion.counts.flatMap((row, i) => row.map((count, j) => {
      const share = sums[i] ? count / sums[i] : 0;
      return { label: confusion.labels[i], said: confusion.labels[j], count, share, strong: share > 0.55, text: `${points(share)} %`, short: count ? (count < confusion.runs / 2 ? "<1" : short(Math.round(count / confusion.runs))) : "" };
    }));
    const host = el("div", { class: "chart" });
    const mean = confusion.runs > 1 ? `, mean of ${confusion.runs} runs` : "";
    add(`Confusion matrix: ${confusion.what}${mean}`, host, "The stronger the colour, the larger the share of its class.");
    queueMicrotask(() => draw(host, long ? "confusion-long" : "confusion", rows, { description: `Confusion matrix of ${confusion.labels.length} classes`,
      change: (specification) => {
        const few = confusion.labels.length <= 4;
        Object.assign(specification, { width: { step: few ? 84 : 34 }, height: { step: few ? 60 : 30 } });
      } }));
    beside.push(el("details", {}, el("summary", {}, "The same as a table"),
      table("Confusion matrix, all runs together", ["is \\ said", ...confusion.labels], confusion.counts.map((row, i) => [confusion.labels[i], ...row.map(String)]), new Set(confusion.labels.map((_, i) => i + 1)))));
  } else if (confusion?.pairs) {
    beside.push(table(`Most confused of ${confusion.classes} classes, all runs together`, ["is", "said", confusion.what], confusion.pairs.map(([a, b, n]) => [a, b, String(n)]), new Set([2])));
  }
  if (calibration) {
    const host = el("div", { class: "chart square" });
    add("Calibration: how often it was right when it was so sure", host,
      `Expected calibration error ${points(calibration.error)} points, 10 bins, ${calibration.examples} examples, ${calibration.runs} ${calibration.runs > 1 ? "runs together" : "run"}. Above the line it was too modest, below it too sure.`);
    const rows = calibration.bins.map(([confidence, share, count]) => ({ confidence, share, count }));
    queueMicrotask(() => draw(host, "reliability", rows, { description: `Reliability diagram, expected calibration error ${points(calibration.error)} points` }));
  }
  if (scatter) {
    const host = el("div", { class: "chart square" });
    add("Scores against labels", host, `${scatter.points.length} of ${scatter.of} examples, first seed.`);
    queueMicrotask(() => draw(host, "scatter", scatter.points.map(([label, said]) => ({ label, said })), { description: "Predicted scores against labels" }));
  }
  return drawn.length + beside.length ? [el("div", { class: "side" }, drawn), beside] : [el("p", {}, `Of these predictions there is no picture. ${found.confusion === undefined ? NO_STORE : ""}`)];
};
const named = (found, value) => (found.labels?.length && Number.isInteger(value) ? found.labels[value] ?? String(value) : String(value));
const exampleOf = (found, inputs, one) => {
  const input = inputs[`${found.disagree.dataset} ${one.id}`] ?? {};
  const votes = new Map();
  for (const value of one.students) votes.set(value, (votes.get(value) ?? 0) + 1);
  const scores = found.disagree.scores;
  const say = (value) => el("span", { class: `said${scores ? "" : value === one.label ? " right" : " wrong"}` },
    scores ? "" : value === one.label ? "✓ " : "✗ ", named(found, value));
  const said = scores ? [[one.students.reduce((a, b) => a + b, 0) / one.students.length, one.students.length]] : [...votes].sort((a, b) => b[1] - a[1]);
  return el("li", { class: "example" },
    input.image ? el("img", { src: input.image, alt: `Example ${one.id}`, class: "pixels" }) : null,
    el("div", {},
      input.text !== undefined ? el("blockquote", {}, input.text) : null, input.text_pair !== undefined ? el("blockquote", {}, input.text_pair) : null,
      el("dl", { class: "answers" },
        el("div", {}, el("dt", {}, "is"), el("dd", {}, named(found, one.label))),
        el("div", {}, el("dt", {}, "teacher"), el("dd", {}, say(one.teacher))),
        el("div", {}, el("dt", {}, "student"), el("dd", {}, said.map(([value, n]) => [say(scores ? Number(value.toPrecision(4)) : value), one.students.length > 1 && !scores ? el("span", { class: "dim" }, ` ${n} of ${one.students.length} `) : " "])))),
      el("p", { class: "dim" }, one.kind ? `${one.kind} · ` : "", one.id)));
};
const examplesTab = (cell, found, inputs) => {
  const { disagree } = found, drawn = [];
  if (disagree) {
    const kinds = Object.entries(disagree.kinds).map(([kind, n]) => `${kind} ${n}`).join(", ");
    const share = disagree.scores ? `Sorted by how far the student is from the teacher (${disagree.teacher}).`
      : `Student and teacher (${disagree.teacher}) disagree on ${disagree.differ} of ${disagree.of} examples of dev${kinds ? `: ${kinds}` : ""}. `
        + (found.runs.length > 1 ? "The student's answer is that of most seeds." : "");
    drawn.push(el("p", {}, share), el("ol", { class: "examples" }, disagree.examples.map((one) => exampleOf(found, inputs, one))));
    const left = disagree.differ - disagree.examples.length;
    if (left > 0) drawn.push(el("p", { class: "dim" }, `${left} more are not shown.`));
  }
  if (found.pictures?.length) {
    drawn.push(el("h3", {}, "What it said of some images"),
      el("ul", { class: "pictures" }, found.pictures.map((one) => el("li", {}, el("img", { src: one.image, alt: `What was said of ${one.id}` }), el("p", { class: "dim" }, one.id)))));
  }
  return drawn.length ? drawn : [el("p", {}, "Nobody taught this row, or what its teacher said of the same examples is not here.")];
};
const chainTab = (cell, found) => {
  const host = el("div", {}, el("p", {}, "Unpacking…"));
  load("things").then((things) => {
    const seen = new Set(), queue = [found.key];
    while (queue.length) {
      const key = queue.pop();
      if (!seen.has(key) && things[key]) { seen.add(key); queue.push(...things[key][3]); }
    }
    const groups = new Map(), groupOf = new Map();
    for (const key of seen) {
      const [kind, title] = things[key], name = `${kind} ${title.replace(/ · seed \d+/, "")}`;
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(key);
      groupOf.set(key, name);
    }
    const nodes = [...groups].map(([id, keys]) => {
      const [kind, title, digest] = things[keys[0]];
      const count = keys.length > 1 ? `${keys.length} × ` : "";
      return { id, kind, head: `${count}${kind}`, lines: [title.replace(/ · seed \d+/, keys.length > 1 ? "" : "$&"),
        ...(keys.length > 1 ? keys.slice(0, 3).map((key) => `${things[key][1].match(/seed \d+/)?.[0] ?? key} ${things[key][2].slice(0, 16)}`) : [digest.slice(0, 24)])] };
    });
    const edges = new Map();
    for (const key of seen) for (const other of things[key][3]) {
      if (groupOf.has(other)) edges.set(`${groupOf.get(other)}\n${groupOf.get(key)}`, [groupOf.get(other), groupOf.get(key)]);
    }
    const rows = [...seen].sort((a, b) => things[a][0].localeCompare(things[b][0]) || things[a][1].localeCompare(things[b][1]))
      .map((key) => [things[key][0], things[key][1], el("code", {}, key), el("code", { class: "digest" }, things[key][2])]);
    host.replaceChildren(
      el("p", { class: "dim" }, "From what was fetched, at the left, to this number. Under each title: the beginning of the digest of its manifest, which has the SHA-256 of every file."),
      graph(nodes, [...edges.values()], `What this number was made of: ${seen.size} things`),
      el("details", {}, el("summary", {}, `All ${seen.size} things with their digests`), table("What it was made of", ["kind", "what", "key", "digest of the manifest"], rows)));
  }).catch((error) => host.replaceChildren(el("p", {}, `This could not be unpacked: ${error.message}`)));
  return [host];
};
const againTab = (cell, found) => found.commands.map(([what, command]) =>
  el("div", { class: "command" }, el("p", {}, what), el("pre", { tabindex: "0", "aria-label": what }, el("code", {}, command)), copier(command, what)));

const TABS = [["Runs", runsTab], ["Curves", curvesTab], ["Config", configTab], ["Predictions", predictionsTab],
  ["Disagreements", examplesTab], ["Where from", chainTab], ["Make again", againTab]];

const choose = (place, focus = false) => {
  const tabs = all('[role="tab"]', by("#opened"));
  tabs.forEach((tab, i) => {
    tab.setAttribute("aria-selected", i === place ? "true" : "false");
    tab.tabIndex = i === place ? 0 : -1;
  });
  if (focus) tabs[place].focus();
  const panel = by("#panel");
  panel.setAttribute("aria-labelledby", tabs[place].id);
  try {
    panel.replaceChildren(...TABS[place][1](current.cell, current.found, current.inputs).flat().filter(Boolean));
  } catch (error) {
    panel.replaceChildren(el("p", {}, `This could not be shown: ${error.message}`));
  }
  panel.scrollTop = 0;
  current.tab = place;
};
const openCell = async (number) => {
  const cell = overview.cells[number], dialog = by("#opened");
  if (!cell) return;
  const { table: of, row, column } = where(cell);
  by("#opened-title").textContent = `${row.label} · ${column.heading}`;
  by("#opened-where").textContent = `${of.title} — ${row.role}`;
  by("#opened-number").textContent = shown(cell);
  by("#panel").replaceChildren(el("p", {}, "Unpacking…"));
  if (!dialog.open) { opener = document.activeElement; dialog.showModal(); }
  history.replaceState(null, "", addressOf(cell));
  const tab = current?.tab ?? 0;
  try {
    const shard = cell.shard === undefined ? { cells: [{ runs: [], commands: [], key: "" }], inputs: {} } : await load(cell.shard);
    current = { number, cell, found: shard.cells[cell.at ?? 0], inputs: shard.inputs, tab };
    choose(tab);
  } catch (error) {
    by("#panel").replaceChildren(el("p", {}, `This could not be unpacked: ${error.message}`));
  }
};
const step = (by_) => {
  const here = current.cell;
  const column = overview.cells.map((cell, i) => [cell, i]).filter(([cell]) => cell.table === here.table && cell.column === here.column);
  const next = column[column.findIndex(([, i]) => i === current.number) + by_];
  if (next) openCell(next[1]); else announce("There is no row beyond");
};
const enlivenDialog = () => {
  const dialog = by("#opened"), list = by("#tabs");
  TABS.forEach(([name], i) => {
    const tab = el("button", { type: "button", role: "tab", id: `tab-${i}`, "aria-controls": "panel", "aria-selected": "false" }, name);
    tab.addEventListener("click", () => choose(i));
    list.append(tab);
  });
  list.addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key], end = { Home: 0, End: TABS.length - 1 }[event.key];
    if (move === undefined && end === undefined) return;
    event.preventDefault();
    choose(end ?? (current.tab + move + TABS.length) % TABS.length, true);
  });
  by("#close").addEventListener("click", () => dialog.close());
  by("#above").addEventListener("click", () => step(-1));
  by("#below").addEventListener("click", () => step(1));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => {
    history.replaceState(null, "", location.pathname + location.search);
    (opener && opener.isConnected ? opener : by("main")).focus();
  });
};
const openAddressed = () => {
  const parts = location.hash.slice(1).split("&").map((part) => { try { return decodeURIComponent(part); } catch { return ""; } });
  if (parts[0] !== "cell") return;
  const number = overview.cells.findIndex((cell) => {
    const { table: of, row } = where(cell);
    return of.name === parts[1] && row.name === parts[2] && cell.column === parts[3];
  });
  if (number >= 0) openCell(number);
};
