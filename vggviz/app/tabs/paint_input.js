// What the pointer, the keyboard and the tools of the tab 'Paint' do; goes on from paint.js.
const remember = () => {
  const {history, mask} = current();
  history.push(mask ? mask.slice() : null);
  if (history.length > 100) history.shift();
};
const begin = () => { // the mask of a first stroke: dark, but for the eraser light
  if (comparing) compare(false);
  current().mask ??= isBars() ? decode(facts[at].learned)
    : new Float32Array(count()).fill(mode === "erase" ? TOP : 0);
};
const dab = (x, y) => {
  const {rows, columns} = facts[at], {mask} = current();
  if (isBars()) {
    mask[facts[at].order[barAt(x)]] = TOP * near(1 - y, 1);
    return;
  }
  const radius = SIZES[size] * columns, [mx, my] = [x * columns, y * rows];
  for (let row = 0; row < rows; row += 1) for (let column = 0; column < columns; column += 1) {
    const inside = Math.floor(mx) === column && Math.floor(my) === row;
    const away = Math.hypot(column + 0.5 - mx, row + 0.5 - my);
    const strength = inside ? 1 : near((radius + 0.45 - away) / Math.max(0.6, 0.6 * radius), 1);
    const index = row * columns + column, value = TOP * strength;
    mask[index] = mode === "erase" ? Math.min(mask[index], TOP - value) : Math.max(mask[index], value);
  }
};
const strokeTo = (x, y) => {
  const {columns} = facts[at], step = isBars() ? 1 / bars() : 0.5 / columns;
  const steps = Math.ceil(Math.hypot(x - place.x, y - place.y) / step) || 1;
  for (let n = 1; n <= steps; n += 1)
    dab(place.x + (x - place.x) * n / steps, place.y + (y - place.y) * n / steps);
  place = {x, y};
};
const changed = () => {
  if (!isBars() && current().mask?.every((value) => value < 0.5)) current().mask = null;
  draw();
  send();
};
const finish = () => window.vggviz.send("sync"); // the address takes the paint
const compare = (on) => {
  comparing = on;
  dress();
  draw();
};
const ACTS = {
  undo: () => {
    if (!current().history.length) return;
    current().mask = current().history.pop();
    changed();
  },
  clear: () => { remember(); current().mask = null; changed(); },
  learned: () => { remember(); current().mask = decode(facts[at].learned); changed(); },
  compare: () => compare(!comparing),
};

// --- the pointer
const pointAt = (event) => {
  const box = board.querySelector(".easel").getBoundingClientRect();
  return [near((event.clientX - box.left) / box.width, 0.9999),
    near((event.clientY - box.top) / box.height, 0.9999)];
};
let painting = null;
element.addEventListener("pointerdown", (event) => {
  const easel = event.target.closest(".easel");
  if (!easel || event.button) return;
  painting = event.pointerId;
  easel.setPointerCapture(painting);
  const [x, y] = pointAt(event);
  place = {x, y};
  remember();
  begin();
  dab(x, y);
  showBrush(true);
  changed();
});
element.addEventListener("pointermove", (event) => {
  if (!event.target.closest(".easel")) return;
  if (event.pointerId !== painting) {
    if (painting === null && event.pointerType === "mouse") {
      [place.x, place.y] = pointAt(event);
      showBrush(true);
    }
    return;
  }
  for (const one of event.getCoalescedEvents?.() ?? []) strokeTo(...pointAt(one));
  strokeTo(...pointAt(event));
  showBrush(true);
  current().mask && changed();
  begin(); // what was erased to nothing within a stroke goes on from nothing
});
for (const type of ["pointerup", "pointercancel"]) element.addEventListener(type, (event) => {
  if (event.pointerId !== painting) return;
  painting = null;
  if (event.pointerType !== "mouse") showBrush(false);
  changed();
  finish();
});
element.addEventListener("pointerleave", () => { if (board && painting === null) showBrush(false); });

// --- the keyboard
const MOVES = {ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]};
element.addEventListener("keydown", (event) => {
  if (!event.target.closest(".easel") || event.ctrlKey || event.metaKey || event.altKey) return;
  const {rows, columns} = facts[at], move = MOVES[event.key];
  if (move) {
    const [across, down] = isBars() ? [bars(), 16] : [columns, rows];
    const step = (value, by, cells) =>
      (near(Math.floor(value * cells) + by, cells - 1) + 0.5) / cells;
    if (isBars() && move[1]) {
      const channel = facts[at].order[barAt(place.x)];
      remember();
      begin();
      current().mask[channel] = near(current().mask[channel] - move[1] * TOP / down, TOP);
      changed();
      finish();
    } else place = {x: step(place.x, move[0], across), y: step(place.y, move[1], down)};
  } else if (event.key === " " && !isBars()) {
    remember();
    begin();
    dab(place.x, place.y);
    changed();
    finish();
  } else if (event.key.toLowerCase() === "e") {
    mode = mode === "brush" ? "erase" : "brush";
    dress();
  } else return;
  event.preventDefault();
  showBrush(true);
  tell();
});
document.addEventListener("keydown", (event) => {
  const writes = event.target.closest?.("input:not([type=radio]), textarea");
  if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
  if (writes || !tabIsOpen()) return;
  event.preventDefault();
  ACTS.undo();
  finish();
});
document.addEventListener("click", (event) => {
  const button = event.target.closest?.("#paint-tools button");
  if (!button || !board) return;
  const {stage, size: one, mode: how, page, do: act} = button.dataset;
  if (stage) open(stage);
  if (one) size = one;
  if (how) mode = how;
  if (page) current().page += Number(page);
  if (act) ACTS[act]();
  dress();
  draw();
  finish();
});
sync();
