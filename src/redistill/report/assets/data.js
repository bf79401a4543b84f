// Data are in the page, compressed, and unpacked when they are looked at; of a page in several files, beside it.
const unpacked = new Map();

const unpack = async (name) => {
  const block = document.getElementById(`data-${name}`);
  if (!block) {
    const answer = await fetch(`data/${name}.json`);
    if (!answer.ok) throw new Error(`data/${name}.json: ${answer.status}`);
    return answer.json();
  }
  const bytes = Uint8Array.from(atob(block.textContent.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
};
const load = (name) => {
  if (!unpacked.has(name)) unpacked.set(name, unpack(name));
  return unpacked.get(name);
};
