// The browser's half of widget.py, for JupyterLab, Notebook, marimo, Colab and VS Code.
// All that it shows is set as text or attribute, so that no label is ever markup.

const CHOICES = ["attention", "stage", "method", "target"];

const STYLE = `
.vggviz { font: 13px/1.4 system-ui, sans-serif; max-width: 60rem; padding: 4px; color: inherit }
.vggviz .controls { display: flex; flex-wrap: wrap; gap: 8px 16px; margin-bottom: 12px }
.vggviz label { display: grid; gap: 2px }
.vggviz select, .vggviz input { font: inherit; min-height: 28px; max-width: 16rem; margin: 0 }
.vggviz select { color: CanvasText; background-color: Canvas; border: 1px solid; border-radius: 4px }
.vggviz :focus-visible { outline: 2px solid Highlight; outline-offset: 2px }
.vggviz .tiles { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start }
.vggviz [aria-busy=true] { opacity: .5 }
.vggviz figure { margin: 0; width: 180px }
.vggviz .canvas { position: relative; height: 180px }
.vggviz .canvas > * { position: absolute; inset: 0; width: 100%; height: 100% }
.vggviz .heat { opacity: var(--opacity) }
.vggviz path { fill: currentColor; opacity: .6 }
.vggviz .scale { display: flex; gap: 6px; align-items: center }
.vggviz .scale i { flex: 1; height: 8px }
.vggviz table { margin: 0; font: inherit }
.vggviz caption { text-align: left; color: inherit; caption-side: top; padding: 0 }
.vggviz td { padding: 0 8px 0 0; text-align: left; border: 0 }
.vggviz td:last-child { width: 80px }
.vggviz .bar { height: 8px; background: currentColor; opacity: .6 }
.vggviz p { margin: 8px 0 0 }
`;

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

// Black on white or white on black, whatever the notebook calls its theme: the controls follow.
function followTheme(root) {
  const pixel = document.createElement("canvas").getContext("2d"); // reads every notation
  pixel.fillStyle = getComputedStyle(root).color;
  pixel.fillRect(0, 0, 1, 1);
  const [r, g, b] = pixel.getImageData(0, 0, 1, 1).data;
  root.style.colorScheme = 0.3 * r + 0.6 * g + 0.1 * b > 127 ? "dark" : "light";
}

function drawTile(tile, view, texts) {
  const canvas = make("div", { className: "canvas" });
  if (tile.path) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", `0 0 ${tile.count} 100`);
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("role", "img");
    svg.setAttribute("aria-label", tile.alt);
    const path = document.createElementNS(svg.namespaceURI, "path");
    path.setAttribute("d", tile.path);
    svg.append(path);
    canvas.append(svg);
  } else {
    canvas.append(make("img", { src: view.crop, alt: tile.alt }));
    if (tile.heat) canvas.append(make("img", { src: tile.heat, alt: "", className: "heat" }));
  }
  const scale = make("div", { className: "scale" }, tile.ends?.[0] ?? "");
  if (tile.heat) {
    const colours = make("i");
    colours.style.background = `linear-gradient(90deg, ${texts.gradient})`;
    scale.append(colours, tile.ends[1]);
  }
  return make("figure", {}, make("figcaption", {}, tile.title), canvas, scale, tile.size ?? "");
}

function drawPrediction(view, texts) {
  const table = make("table", {}, make("caption", {}, texts.says));
  for (const [label, percent, share] of view.top) {
    const bar = make("div", { className: "bar" });
    bar.style.width = `${100 * share}%`;
    table.append(make("tr", {}, ...[label, percent, bar].map((one) => make("td", {}, one))));
  }
  return table;
}

function render({ model, el }) {
  const texts = model.get("texts");
  const controls = make("div", { className: "controls" });
  const tiles = make("div", { className: "tiles" });
  const notes = make("div");
  notes.setAttribute("role", "status");
  const root = make("div", { className: "vggviz" }, make("style", {}, STYLE), controls, tiles, notes);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", texts.title);
  // Letters choose in a list; they are no commands of the notebook, such as 'a' for a new cell.
  root.addEventListener("keydown", (event) => event.stopPropagation());

  const inputs = {};
  for (const name of CHOICES) {
    const options = model.get("options")[name];
    if (options.length < 2) continue;
    const select = make("select", {
      onchange: () => {
        model.set(name, options[select.selectedIndex][0]);
        model.save_changes();
      },
    });
    select.append(...options.map(([, title]) => make("option", {}, title)));
    inputs[name] = () => {
      select.selectedIndex = options.findIndex(([value]) => value === model.get(name));
    };
    controls.append(make("label", {}, texts[name], select));
  }
  const opacity = make("input", { type: "range", min: 0, max: 1, step: 0.05 });
  opacity.oninput = () => {
    model.set("opacity", opacity.valueAsNumber);
    model.save_changes();
  };
  inputs.opacity = () => {
    opacity.value = model.get("opacity");
    tiles.style.setProperty("--opacity", model.get("opacity"));
  };
  controls.append(make("label", {}, texts.opacity, opacity));

  function showState() {
    const { of } = model.get("view");
    tiles.setAttribute("aria-busy", CHOICES.some((name) => model.get(name) !== of[name]));
  }
  function showView() {
    const view = model.get("view");
    const crop = { title: texts.crop, alt: texts.crop };
    tiles.replaceChildren();
    if (view.tiles) {
      const drawn = [crop, ...view.tiles].map((tile) => drawTile(tile, view, texts));
      tiles.append(...drawn, drawPrediction(view, texts));
    }
    notes.replaceChildren(...view.notes.map((note) => make("p", {}, note)));
    showState();
  }

  const listeners = [["change:view", showView]];
  for (const name of CHOICES) listeners.push([`change:${name}`, showState]);
  for (const [name, show] of Object.entries(inputs)) listeners.push([`change:${name}`, show]);
  for (const [event, listener] of listeners) model.on(event, listener);
  el.append(root);
  showView();
  for (const show of Object.values(inputs)) show();

  const themes = new MutationObserver(() => followTheme(root));
  for (const element of [document.documentElement, document.body])
    themes.observe(element, { attributes: true });
  requestAnimationFrame(() => followTheme(root)); // once it has a colour to inherit
  return () => {
    themes.disconnect();
    for (const [event, listener] of listeners) model.off(event, listener);
  };
}

export default { render };
