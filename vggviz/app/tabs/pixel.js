// The attention of the place that one points at, drawn from bytes that came with the page: no
// request while the pointer moves. `element` is the component, `trigger` sends an event, `watch` tells
// of a new value.
const SIDE = 320, SMALL = 160; // pixels a side of the large map, of a head's
let root = null, data = null; // the element, and what it says
let pinned = 0, pointed = null, framed = false, waiting = null;

const find = (selector) => element.querySelector(selector);
const bytes = (base64) => Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
// Text is set within its node: the page's own observer of changes need not look at that.
const write = (part, text) => { part.firstChild.data = text; };

const read = (part) => {
  const found = JSON.parse(part.dataset.attention);
  for (const view of found.views) {
    view.maps = bytes(view.maps);
    view.flat = new Set(view.flat);
  }
  const colours = bytes(found.colours);
  found.palette = new Uint32Array(256);
  const parts = new Uint8Array(found.palette.buffer);
  for (let n = 0; n < 256; n++) parts.set([...colours.slice(3 * n, 3 * n + 3), 255], 4 * n);
  data = found;
};

// Bilinear between the centres of cells, constant beyond the outermost: for each pixel the cell
// before it, the one after it, and the share of the latter.
const cache = new Map();
const between = (cells, side) => {
  const key = `${cells} ${side}`;
  if (!cache.has(key)) cache.set(key, Array.from({length: side}, (_, pixel) => {
    const at = Math.max(0, (pixel + 0.5) * cells / side - 0.5), first = Math.floor(at);
    return [first, Math.min(first + 1, cells - 1), at - first];
  }));
  return cache.get(key);
};

const paint = (canvas, values, side) => {
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const [height, width] = data.keys, across = between(width, side), lines = new Float32Array(height * side);
  for (let y = 0; y < height; y++) for (let x = 0; x < side; x++) {
    const [one, other, share] = across[x], start = y * width;
    lines[y * side + x] = (values[start + one] * (1 - share) + values[start + other] * share) * 256 / 255;
  }
  const context = canvas.getContext("2d"), image = context.createImageData(side, side);
  const pixels = new Uint32Array(image.data.buffer);
  between(height, side).forEach(([one, other, share], y) => {
    const [upper, lower] = [one * side, other * side];
    for (let x = 0; x < side; x++) {
      const value = lines[upper + x] * (1 - share) + lines[lower + x] * share;
      pixels[y * side + x] = data.palette[Math.min(255, value | 0)];
    }
  });
  context.putImageData(image, 0, 0);
};

const outline = (part, query) => {
  part.style.left = `${100 * (query % data.columns) / data.columns}%`;
  part.style.top = `${100 * Math.floor(query / data.columns) / data.rows}%`;
};

const draw = () => {
  framed = false;
  if (!data || !root?.isConnected) return;
  const query = pointed ?? pinned, at = query - data.first;
  const place = {row: Math.floor(query / data.columns) + 1, column: query % data.columns + 1};
  write(find("#asked"), fill(data.texts.place, place));
  element.querySelectorAll(".cell:not(.sink)").forEach((part) => outline(part, query));
  if (at < 0 || at >= data.count) return; // the server is asked
  const hidden = Boolean(find(".sinks input")?.checked), view = data.views[Number(hidden)];
  find(".asking").classList.toggle("hidden-sinks", hidden);
  const cells = data.keys[0] * data.keys[1];
  element.querySelectorAll("figure").forEach((figure, layer) => {
    const index = layer * data.count + at, flat = view.flat.has(index);
    const canvas = figure.querySelector("canvas"), [, bar, top] = figure.querySelector(".scale").children;
    canvas.hidden = flat;
    if (!flat) paint(canvas, view.maps.subarray(index * cells, (index + 1) * cells), layer ? SMALL : SIDE);
    figure.querySelector(".scale").classList.toggle("flat", flat);
    const value = view.tops[layer][at];
    write(top, flat ? fill(data.texts.flat, {value}) : value);
  });
  const [to, most, self, half, spread] = view.readings[at], reading = find(".reading");
  const to_row = Math.floor(to / data.keys[1]) + 1, to_column = to % data.keys[1] + 1;
  const values = {...place, to_row, to_column, most, self, half, all: view.places, even: view.even};
  write(reading, fill(data.texts[spread ? "spread" : "focus"], values));
  reading.dataset.row = place.row;
  if (query !== Number(root.dataset.opening)) delete reading.dataset.opening;
};
const redraw = () => {
  if (!framed) requestAnimationFrame(draw);
  framed = true;
};

const whole = () => data.count === data.rows * data.columns;

// Gradio changes the elements that are there into those of a new value, and so undoes what was drawn.
// A place stays pinned where the same rows arrive again, as in another language.
let rows = "";
const open = () => {
  root = find(".asking");
  data = null;
  if (!root) return;
  read(root);
  pointed = null;
  const arrived = JSON.stringify([root.style.cssText, data.rows, data.columns, data.readings]);
  if (arrived !== rows || !whole()) pinned = Number(root.dataset.opening);
  rows = arrived;
  redraw();
};
watch("value", open);
open();
document.addEventListener("vggviz:pixel-row", () => { // the answer to `send`
  const answer = document.querySelector("#pixel-row [data-attention]");
  if (!answer || !data) return;
  read(answer);
  redraw();
});

// Of a stage that is too large to be sent: at most one request in 150 ms, always one for the last
// place.
const send = () => {
  const query = pinned;
  trigger("select", {row: Math.floor(query / data.columns), column: query % data.columns});
  waiting = setTimeout(() => {
    waiting = null;
    if (pinned !== query) send();
  }, 150);
};
const pin = (query) => {
  const same = query === pinned;
  pinned = query;
  pointed = null;
  redraw();
  if (!whole() && !same && waiting === null) send();
};
const point = (query) => {
  if (query === pointed) return;
  pointed = query;
  redraw();
};

const under = (event) => {
  const canvas = data && event.target.closest?.(".canvas");
  if (!canvas) return null;
  const box = canvas.getBoundingClientRect();
  const at = (from, size, cells) => Math.max(0, Math.min(cells - 1, Math.floor(from / size * cells)));
  const column = at(event.clientX - box.left, box.width, data.columns);
  return at(event.clientY - box.top, box.height, data.rows) * data.columns + column;
};
element.addEventListener("pointermove", (event) => {
  const query = under(event);
  if (query === null) return;
  if (event.pointerType !== "touch") {
    if (whole()) point(query);
  } else pin(query); // a finger that is drawn over the picture
});
element.addEventListener("pointerout", (event) => {
  if (under(event) !== null && !event.relatedTarget?.closest?.("#pixel .canvas")) point(null);
});
element.addEventListener("click", (event) => {
  const query = under(event);
  if (query !== null) pin(query);
});
element.addEventListener("change", (event) => {
  if (event.target.matches(".sinks input")) redraw();
});
const MOVES = {ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1]};
element.addEventListener("keydown", (event) => {
  const move = MOVES[event.key];
  if (!move || !data || !event.target.closest(".canvas")) return;
  event.preventDefault();
  const step = Math.ceil(data.rows / 28);
  const bound = (value, cells) => Math.max(0, Math.min(cells - 1, value));
  const next = bound(Math.floor(pinned / data.columns) + step * move[0], data.rows);
  pin(next * data.columns + bound(pinned % data.columns + step * move[1], data.columns));
});
