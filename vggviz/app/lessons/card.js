// The card of the lessons: shows one step, looks whether the student has done what it asks for, and
// lights up what it speaks of. `element` is the component, `trigger` sends an event to the server.
const root = document.documentElement;
const sheet = () => document.head.appendChild(document.createElement("style"));
const look = sheet(), letter = sheet();
const memory = new Map(); // what was chosen and revealed, by step: language changes draw all anew
let current = null; // {lesson, step}, null for the list
let open = false, ready = false;

const find = (selector) => element.querySelector(selector);
const section = () => current && find(`section[data-lesson="${current.lesson}"]`);
const article = () => section()?.querySelector(`article[data-step="${current.step}"]`);
const steps = () => [...section().querySelectorAll("article")].map((one) => one.dataset.step);
const known = () => {
  const key = `${current.lesson}.${current.step}`;
  if (!memory.has(key)) memory.set(key, {picked: null, revealed: false});
  return memory.get(key);
};
const light = (style, selector, rule) => {
  style.textContent = selector ? `:is(${selector}) { ${rule} }` : "";
};

const draw = () => {
  root.classList.toggle("in-lesson", open);
  if (ready) note();
  for (const one of document.querySelectorAll("#open-lessons button"))
    one.setAttribute("aria-expanded", String(open));
  if (!find("nav")) return;
  find("aside").dataset.drawn = "true";
  find("nav").hidden = current !== null;
  find("aside").classList.toggle("listing", current === null);
  for (const one of element.querySelectorAll("section"))
    one.hidden = one.dataset.lesson !== current?.lesson;
  const step = article();
  light(look, open && step ? step.dataset.look : "", 
    "animation: lesson-look 1.2s 2; outline: 3px solid var(--accent) !important; outline-offset: 4px !important; border-radius: 10px;");
  if (!step) return;
  for (const one of section().querySelectorAll("article")) one.hidden = one !== step;
  const {picked, revealed} = known(), keys = steps(), index = keys.indexOf(current.step);
  step.toggleAttribute("data-picked", picked !== null);
  step.toggleAttribute("data-revealed", revealed);
  step.dataset.judged = picked === null ? "" : String(step.dataset.right === picked);
  for (const one of step.querySelectorAll("[data-option]")) {
    one.setAttribute("aria-pressed", String(one.dataset.option === picked));
    one.classList.toggle("right", revealed && one.dataset.option === step.dataset.right);
  }
  section().querySelectorAll(".progress button").forEach((one, number) => {
    const state = memory.get(`${current.lesson}.${keys[number]}`);
    one.classList.toggle("over", Boolean(state?.revealed));
    if (number === index) one.setAttribute("aria-current", "step");
    else one.removeAttribute("aria-current");
  });
  section().querySelector(".back").disabled = index === 0;
  const last = index === keys.length - 1;
  section().querySelector(".next").disabled =
    last && !section().nextElementSibling?.matches("section");
  section().querySelector("footer a").href = `?lesson=${current.lesson}.${current.step}`;
};

const data = {}; // one object: an event that had to wait comes with the data of the first one
const send = (show) => trigger("select", Object.assign(data, current, {show}));

const visit = (lesson, step) => {
  const place = find(`section[data-lesson="${lesson}"]`);
  if (!place) return;
  const first = place.querySelector("article").dataset.step;
  const there = place.querySelector(`article[data-step="${CSS.escape(step ?? "")}"]`);
  current = {lesson, step: there ? step : first};
  open = true;
  send(false);
  draw();
  article().scrollIntoView({block: "nearest"});
  setTimeout(() => {
    if (root.classList.contains("stage-mode")) return; // where nothing is folded away or scrolled to
    const parts = open && article() ? [...document.querySelectorAll(article().dataset.look)] : [];
    if (parts.some((one) => !one.getClientRects().length)) window.vggviz?.more(true); // folded away
    const block = matchMedia("(max-width: 760px)").matches ? "start" : "nearest";
    parts[0]?.scrollIntoView({block, behavior: "smooth"});
  }, 900);
};

// The address has the step, so that a reload comes back to it.
const note = () => {
  const query = new URLSearchParams(location.search);
  if (open && current) query.set("lesson", `${current.lesson}.${current.step}`);
  else query.delete("lesson");
  const search = query.size ? `?${query}` : location.pathname;
  if (query.get("lesson") !== new URLSearchParams(location.search).get("lesson"))
    history.replaceState(null, "", search);
};

const move = (by) => {
  const keys = steps(), next = keys.indexOf(current.step) + by;
  if (keys[next]) return visit(current.lesson, keys[next]);
  const other = by > 0 ? section().nextElementSibling : null;
  if (other?.matches("section")) visit(other.dataset.lesson);
};

const reveal = () => {
  known().revealed = true;
  draw();
  article().querySelector(".reveal").scrollIntoView({block: "nearest", behavior: "smooth"});
};

const check = () => {
  const step = open && article();
  if (!step || known().revealed || known().picked === null) return;
  if (!step.dataset.done || document.querySelector(step.dataset.done)) reveal();
};

const show = () => {
  const selector = article().dataset.press;
  const part = selector && document.querySelector(selector);
  if (!selector) return send(true);
  if (!part) return;
  if (part.type === "range") {
    part.value = Number(part.value) + 1;
    for (const kind of ["input", "change"]) part.dispatchEvent(new Event(kind, {bubbles: true}));
    return;
  }
  const box = part.getBoundingClientRect(); // its upper left part, where a place is asked
  const clientX = box.left + box.width / 12, clientY = box.top + box.height / 30;
  part.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true, clientX, clientY}));
};

const close = () => {
  open = false;
  draw();
  document.querySelector("#open-lessons button")?.focus();
};

element.addEventListener("click", async (event) => {
  const pressed = event.target.closest("button, a");
  if (!pressed) return;
  if (pressed.dataset.open) visit(pressed.dataset.open);
  else if (pressed.dataset.to) visit(current.lesson, pressed.dataset.to);
  else if (pressed.matches(".close")) close();
  else if (pressed.matches(".list")) {
    current = null;
    draw();
  } else if (pressed.matches(".back")) move(-1);
  else if (pressed.matches(".next")) move(1);
  else if (pressed.matches(".show")) show();
  else if (pressed.dataset.option) {
    known().picked = pressed.dataset.option;
    draw();
    check();
  } else if (pressed.matches("footer a")) {
    event.preventDefault();
    try {
      await navigator.clipboard.writeText(pressed.href);
      pressed.dataset.text ??= pressed.textContent;
      pressed.textContent = pressed.dataset.copied;
      setTimeout(() => (pressed.textContent = pressed.dataset.text), 2000);
    } catch { // only a page of https or of this machine may write to the clipboard
      location.href = pressed.href;
    }
  }
});

document.addEventListener("click", (event) => {
  if (!event.target.closest("#open-lessons button")) return;
  open = !open;
  draw();
  if (open) find("h2")?.scrollIntoView({block: "nearest"});
});

// Arrows step through a lesson: first what comes out, then the next step. Where arrows have a
// meaning of their own they keep it.
const own = "input, textarea, select, dialog, [role=tab], [role=listbox], [role=application], [role=slider], [data-roving]";
const arrow = (by) => {
  if (!open || !current) return;
  if (by < 0) return move(-1);
  if (known().revealed) return move(1);
  if (article().dataset.done && !document.querySelector(article().dataset.done)) show();
  reveal();
};
document.addEventListener("keydown", (event) => {
  if (!open || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.(own)) return;
  if (event.key === "Escape" && element.contains(event.target)) return close();
  const by = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!current || !by) return;
  event.preventDefault();
  arrow(by);
});
document.addEventListener("vggviz:step", ({detail: {by}}) => { // in stage mode
  if (open && current) arrow(by);
  else if (by > 0) visit(current?.lesson ?? find("section").dataset.lesson, current?.step);
});

// The letters of a formula light up what they stand for.
const letters = (event) => {
  const sign = event.target.closest?.("math mi");
  const map = sign && JSON.parse(sign.closest(".formula").dataset.letters);
  light(letter, map?.[sign.textContent], "outline: 4px dashed #d97706; outline-offset: 4px; border-radius: 10px;");
};
for (const kind of ["pointerover", "pointerdown", "focusin"]) element.addEventListener(kind, letters);
element.addEventListener("pointerleave", () => light(letter, ""));

// Another language draws the card anew, and the page shows what the student did: both are looked for
// now and then, since they come by and by.
setInterval(() => {
  if (!find("aside")?.dataset.drawn) draw();
  check();
}, 250);

const query = new URLSearchParams(location.search);
const [lesson, step] = (query.get("lesson") ?? "").split(".");
if (query.get("tab") === "lessons") open = true; // links of earlier versions
setTimeout(() => {
  ready = true;
  if (lesson) visit(lesson, step);
}, 500);
draw();
