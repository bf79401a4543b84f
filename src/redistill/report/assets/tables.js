// Tables that can be sorted by a heading and filtered by words.
const valueOf = (row, place) => {
  const cell = row.cells[place];
  const value = cell?.dataset.value;
  return value === undefined ? (cell?.textContent.trim().toLowerCase() ?? "") : value === "" ? null : Number(value);
};
const sortBy = (grid, place) => {
  const heads = all("thead th", grid), head = heads[place], body = grid.tBodies[0];
  const rows = [...body.rows];
  rows.forEach((row, i) => { row.dataset.first ??= i; });
  const numeric = rows.some((row) => typeof valueOf(row, place) === "number");
  const now = head.getAttribute("aria-sort");
  const order = numeric ? ["descending", "ascending", "none"] : ["ascending", "descending", "none"];
  const next = order[(order.indexOf(now === "none" || !now ? "none" : now) + 1) % 3];
  const sign = next === "descending" ? -1 : 1;
  const compare = (a, b) => {
    if (next === "none") return a.dataset.first - b.dataset.first;
    const [x, y] = [valueOf(a, place), valueOf(b, place)];
    const [noX, noY] = [x === null || (numeric && typeof x !== "number"), y === null || (numeric && typeof y !== "number")];
    if (noX || noY) return noX - noY; // what has no number comes last
    return sign * (typeof x === "number" ? x - y : String(x).localeCompare(String(y))) || a.dataset.first - b.dataset.first;
  };
  rows.sort(compare);
  for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", other === head ? next : "none");
  body.append(...rows);
  announce(next === "none" ? "In the order of the study" : `Sorted by ${by("button", head).textContent.trim()}, ${next}`);
};
const filterBy = (grid, words, counter) => {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of grid.tBodies[0].rows) {
    const text = (row.dataset.words ?? row.textContent).toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
    shown += !row.hidden;
  }
  counter.textContent = wanted.length ? `${shown} of ${grid.tBodies[0].rows.length} rows` : "";
};
const enliven = (grid) => {
  all("thead th", grid).forEach((head, place) => by("button", head)?.addEventListener("click", () => sortBy(grid, place)));
  const box = grid.closest("section")?.querySelector(`input[data-filters="${grid.id}"]`);
  if (box) box.addEventListener("input", () => filterBy(grid, box.value, document.getElementById(`${grid.id}-count`)));
  for (const bar of all("[data-share]", grid)) bar.style.setProperty("--share", `${bar.dataset.share}%`);
};
