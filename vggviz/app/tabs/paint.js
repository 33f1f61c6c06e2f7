// The tab 'Paint': the mask lives in the browser; the server answers what the network says to it.
const TOP = 63, WAIT = 80, LOST = 4000, PAGE = 32; // levels, ms, ms, bars
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const SIZES = {small: 0.055, medium: 0.11, large: 0.22}; // radii, of the picture's side
const $ = (selector) => document.querySelector(selector);
const all = (selector) => document.querySelectorAll(selector);
const fill = (words, values) => words.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const near = (value, most) => Math.max(0, Math.min(most, value));
const still = matchMedia("(prefers-reduced-motion: reduce)");

let board = null, key, facts = null, stages = {}, at = ""; // what is painted on, and the stage
let mode = "brush", size = "medium", comparing = false, place = {x: 0.5, y: 0.5};
let wanted = new URLSearchParams(location.search).get("paint") ?? ""; // of a link, until it fits

const encode = (mask) => Array.from(mask, (value) => LETTERS[Math.round(value)]).join("");
const decode = (code) => Float32Array.from(code, (letter) => LETTERS.indexOf(letter));
const current = () => stages[at];
const isBars = () => facts[at].kind === "channel";
const code = () => current().mask ? encode(current().mask) : "";
const count = () => facts[at].rows * facts[at].columns;
const tabIsOpen = () => board?.isConnected && board.getClientRects().length > 0;

// --- what is sent: one stroke at a time, always the last state
let number = 0, waiting = 0, due = false, sent = 0;
const send = () => {
  if (waiting) { due = true; return; }
  due = false;
  number += 1;
  waiting = setTimeout(free, LOST);
  sent = performance.now();
  trigger("select", {stage: at, code: code(), number});
};
const free = () => {
  clearTimeout(waiting);
  waiting = 0;
  if (due) {
    waiting = setTimeout(() => { waiting = 0; send(); },
      Math.max(0, WAIT - (performance.now() - sent)));
  }
};

// --- the answer: rows glide to their new places, bars to their new lengths
let shown = new Map();
const answered = () => {
  const said = $("#paint-answer [data-number]");
  if (!said) return;
  const rows = [...said.querySelectorAll("li")];
  const now = new Map(rows.map((row) => [row.dataset.index, {
    top: row.offsetTop, share: getComputedStyle(row).getPropertyValue("--now"),
  }]));
  if (!still.matches) for (const row of rows) {
    const [old, one] = [shown.get(row.dataset.index), now.get(row.dataset.index)];
    const how = {duration: 160, easing: "ease-out"};
    if (!old) { row.animate([{opacity: 0}, {opacity: 1}], how); continue; }
    if (old.top !== one.top)
      row.animate([{transform: `translateY(${old.top - one.top}px)`}, {transform: "none"}], how);
    row.querySelector("i").animate([{width: `${100 * old.share}%`}, {width: `${100 * one.share}%`}], how);
  }
  shown = now;
  const answers = Number(said.dataset.number);
  if (answers === number) free();
  else if (answers === 0 && current().mask) send(); // drawn anew, in another language
};
const watched = new WeakSet(), watcher = new MutationObserver(answered);
const watchAnswer = () => { // whose parts Gradio changes in place
  const part = $("#paint-answer");
  if (!part || watched.has(part)) return;
  watched.add(part);
  watcher.observe(part, {childList: true, subtree: true, characterData: true, attributes: true});
};

// --- what is seen
const rendered = document.createElement("canvas");
const draw = () => {
  if (!board) return;
  const {rows, columns} = facts[at], canvas = board.querySelector("canvas");
  const mask = comparing ? decode(facts[at].learned) : current().mask;
  const context = canvas.getContext("2d"), side = canvas.width;
  context.clearRect(0, 0, side, side);
  board.classList.toggle("untouched", !mask);
  board.classList.toggle("bars", isBars());
  if (isBars()) drawBars(context, mask ?? decode(facts[at].learned), side);
  else if (mask) {
    [rendered.width, rendered.height] = [columns, rows];
    const small = rendered.getContext("2d"), pixels = small.createImageData(columns, rows);
    mask.forEach((value, index) => {
      pixels.data.set([10, 9, 8, 255 * 0.8 * (1 - value / TOP)], 4 * index);
    });
    small.putImageData(pixels, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(rendered, 0, 0, side, side);
  }
  const svg = board.querySelector("svg");
  svg.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
  svg.firstChild.setAttribute("d", isBars() ? "" : lines(rows, columns));
  board.dataset.code = current().mask ? `${at}.${code()}` : "";
  for (const button of all("#paint-tools [data-do=undo]"))
    button.disabled = !current().history.length;
  for (const button of all("#paint-tools [data-do=clear]")) button.disabled = !current().mask;
};
const lines = (rows, columns) =>
  Array.from({length: rows - 1}, (_, n) => `M0 ${n + 1}H${columns}`).join("")
  + Array.from({length: columns - 1}, (_, n) => `M${n + 1} 0V${rows}`).join("");
const barAt = (x) => current().page * PAGE + Math.floor(near(x, 0.9999) * bars());
const bars = () => Math.min(PAGE, facts[at].columns - current().page * PAGE);
const drawBars = (context, mask, side) => {
  const width = side / bars(), learned = decode(facts[at].learned);
  context.fillStyle = "rgb(10 9 8 / 0.66)";
  context.fillRect(0, 0, side, side);
  for (let n = 0; n < bars(); n += 1) {
    const channel = facts[at].order[current().page * PAGE + n];
    const [value, before] = [mask[channel], learned[channel]].map((one) => side * one / TOP);
    context.fillStyle = "#2dd4bf";
    context.fillRect(n * width + 1, side - value, Math.max(1, width - 2), value);
    context.fillStyle = "#fff";
    context.fillRect(n * width + 1, Math.min(side - 2, side - before), Math.max(1, width - 2), 2);
  }
};
const tell = () => {
  const {rows, columns} = facts[at], words = board.dataset;
  const mask = current().mask ?? (isBars() ? decode(facts[at].learned) : null);
  const [row, column] = [Math.floor(place.y * rows), Math.floor(place.x * columns)];
  const channel = isBars() ? facts[at].order[barAt(place.x)] : 0;
  const value = mask ? (mask[isBars() ? channel : row * columns + column] / TOP).toFixed(2) : "–";
  board.querySelector("output").textContent = isBars()
    ? fill(words.channel, {number: channel + 1, value})
    : fill(words.place, {row: row + 1, column: column + 1, value});
};
const showBrush = (on) => {
  const brush = board.querySelector(".brush"), radius = 100 * SIZES[size];
  brush.hidden = !on;
  brush.classList.toggle("erases", mode === "erase");
  Object.assign(brush.style, isBars()
    ? {left: `${100 * (barAt(place.x) - current().page * PAGE) / bars()}%`, top: 0,
      width: `${100 / bars()}%`, height: "100%"}
    : {left: `${100 * place.x - radius}%`, top: `${100 * place.y - radius}%`,
      width: `${2 * radius}%`, height: `${2 * radius}%`});
};
const press = (name, chosen) => {
  for (const button of all(`#paint-tools [data-${name}]`))
    button.ariaPressed = String(button.dataset[name] === chosen);
};
const write = (part, words) => { // only what is new: each change is seen by `sync`
  if (part.textContent !== words) part.textContent = words;
};
const dress = () => { // the tools, for this stage
  press("stage", at);
  press("mode", mode);
  press("size", size);
  for (const button of all("#paint-tools [data-do=compare]")) button.ariaPressed = String(comparing);
  const tools = $("#paint-tools .tools");
  if (!tools || !facts) return;
  tools.classList.toggle("channels", isBars());
  $("#paint").classList.toggle("comparing", comparing);
  write($("#paint-tools .note"), facts[at].note);
  const first = current().page * PAGE + 1, last = first + bars() - 1;
  write(tools.querySelector("output"),
    fill(board.dataset.page, {first, last, count: facts[at].columns}));
  const [back, next] = tools.querySelectorAll("[data-page]");
  back.disabled = current().page === 0;
  next.disabled = first + bars() > facts[at].columns;
};

// --- another picture, network or link
const open = (stage) => {
  at = stage;
  place = {x: 0.5, y: 0.5};
  showBrush(false);
  dress();
  draw();
  send();
};
const fits = () => { // whether the link speaks of this picture and network
  const query = new URLSearchParams(location.search), {example, weights, attention} = board.dataset;
  const named = {example: query.get("example") ?? (query.has("own") ? "" : null),
    weights: query.get("weights"), attention: query.get("attention")};
  return Object.entries({example, weights, attention})
    .every(([name, value]) => named[name] === null || named[name] === value);
};
const restore = () => {
  if (!wanted || !board || !window.vggviz.linked || !fits()) return;
  const dot = wanted.lastIndexOf("."), stage = wanted.slice(0, dot), letters = wanted.slice(dot + 1);
  wanted = "";
  if (!facts[stage] || letters.length !== facts[stage].rows * facts[stage].columns) return;
  if (!/^[\w-]+$/.test(letters)) return;
  stages[stage].mask = decode(letters);
  open(stage);
};
const sync = () => {
  watchAnswer();
  const found = element.querySelector(".board");
  if (found?.dataset.key !== key) {
    [board, key] = [found, found?.dataset.key];
    if (!board) return;
    facts = JSON.parse(board.dataset.stages);
    stages = Object.fromEntries(Object.keys(facts)
      .map((name) => [name, {mask: null, history: [], page: 0}]));
    at = board.dataset.stage;
    [comparing, due, shown] = [false, waiting !== 0, new Map()]; // an answer to the old one may come
    draw();
  } else if (board && board.dataset.code === undefined) { // drawn anew, in another language
    facts = JSON.parse(board.dataset.stages);
    draw();
  }
  if (board) { dress(); restore(); }
};
document.addEventListener("vggviz:sync", sync);
addEventListener("popstate", () => {
  wanted = new URLSearchParams(location.search).get("paint") ?? "";
  if (!board || !tabIsOpen() || wanted === board.dataset.code) return;
  if (!wanted && current().mask) ACTS.clear();
  restore();
});
