// Graphs: boxes in layers, from what was fetched at the left to the number at the right.
const WIDE = 186, PITCH = 15, ACROSS = 36, BETWEEN = 14, PAD = 8;

const layered = (nodes, edges) => {
  const after = new Map(nodes.map((node) => [node.id, []])), before = new Map(nodes.map((node) => [node.id, []]));
  for (const [from, to] of edges) { after.get(from)?.push(to); before.get(to)?.push(from); }
  const depth = new Map();
  const depthOf = (id, path = new Set()) => {
    if (!depth.has(id)) {
      if (path.has(id)) return 0;
      const inner = new Set(path).add(id);
      depth.set(id, Math.max(0, ...before.get(id).map((other) => depthOf(other, inner) + 1)));
    }
    return depth.get(id);
  };
  nodes.forEach((node) => depthOf(node.id));
  // what is used only later stands close to where it is used
  for (const node of [...nodes].sort((a, b) => depth.get(b.id) - depth.get(a.id))) {
    if (after.get(node.id).length) depth.set(node.id, Math.min(...after.get(node.id).map((id) => depth.get(id))) - 1);
  }
  const first = Math.min(...depth.values()), sparse = [];
  for (const node of nodes) (sparse[depth.get(node.id) - first] ??= []).push(node);
  const layers = sparse.filter(Boolean); // all of a layer may have moved on
  const place = new Map();
  const note = (layer) => layer.forEach((node, i) => place.set(node.id, i / Math.max(1, layer.length)));
  layers.forEach(note);
  const mean = (ids) => ids.reduce((sum, id) => sum + place.get(id), 0) / ids.length;
  for (let sweep = 0; sweep < 4; sweep += 1) {
    const forward = sweep % 2 === 0;
    for (const layer of forward ? layers : [...layers].reverse()) {
      const wish = new Map(layer.map((node) => {
        const near = (forward ? before : after).get(node.id);
        return [node.id, near.length ? mean(near) : place.get(node.id)];
      }));
      layer.sort((a, b) => wish.get(a.id) - wish.get(b.id));
      note(layer);
    }
  }
  return layers;
};
const cutTo = (text, letters) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);

// nodes: {id, kind, head, lines}; head and lines are texts. Colours of kinds are in the style sheet.
const graph = (nodes, edges, description, wide = WIDE) => {
  const layers = layered(nodes, edges), corners = new Map();
  const heightOf = (node) => 2 * PAD + PITCH * (1 + node.lines.length);
  const heights = layers.map((layer) => layer.reduce((sum, node) => sum + heightOf(node) + BETWEEN, -BETWEEN));
  const height = Math.max(...heights) + 4, width = layers.length * (wide + ACROSS) - ACROSS + 4;
  layers.forEach((layer, i) => {
    let y = 2 + (height - 4 - heights[i]) / 2;
    for (const node of layer) { corners.set(node.id, [2 + i * (wide + ACROSS), y, heightOf(node)]); y += heightOf(node) + BETWEEN; }
  });
  const drawn = edges.filter(([from, to]) => corners.has(from) && corners.has(to)).map(([from, to]) => {
    const [fromX, fromY, fromHeight] = corners.get(from), [toX, toY, toHeight] = corners.get(to);
    const x1 = fromX + wide, y1 = fromY + fromHeight / 2, x2 = toX - 5, y2 = toY + toHeight / 2, half = Math.max(20, (x2 - x1) / 2);
    return [svg("path", { class: "edge", d: `M${x1} ${y1}C${x1 + half} ${y1} ${x2 - half} ${y2} ${x2} ${y2}` }),
      svg("path", { class: "tip", d: `M${x2 + 5} ${y2}l-7 -3.5v7z` })];
  });
  const boxes = nodes.map((node) => {
    const [x, y, tall] = corners.get(node.id);
    return svg("g", { transform: `translate(${x} ${y})` },
      svg("title", {}, [node.head, ...node.lines].join("\n")),
      svg("rect", { class: "box", width: wide, height: tall, rx: 5 }),
      svg("rect", { class: `kind kind-${node.kind}`, width: 4, height: tall, rx: 2 }),
      svg("text", { class: "head", x: PAD + 5, y: PAD + 10 }, cutTo(node.head, Math.floor(wide / 6.8))),
      node.lines.map((line, i) => svg("text", { x: PAD + 5, y: PAD + 10 + PITCH * (i + 1) }, cutTo(line, Math.floor(wide / 6.3)))));
  });
  const picture = svg("svg", { class: "graph", role: "img", "aria-label": description, viewBox: `0 0 ${width} ${height}`, width, height }, drawn, boxes);
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": description }, picture);
};
