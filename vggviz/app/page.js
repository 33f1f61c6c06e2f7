/* Pictures from anywhere, enlarged maps, and groups that the keyboard enters once. */
{
  const $ = (selector, part = document) => part.querySelector(selector);
  const root = document.documentElement;
  const texts = () => $("#source .source")?.dataset ?? {};
  const input = () => $("#picture input[type=file]");
  const send = (name, detail) => document.dispatchEvent(new CustomEvent(`vggviz:${name}`, {detail}));

  // A sentence of the page itself, where Gradio's toasts are; it covers no control.
  let said = 0;
  const say = (sentence) => {
    if (!sentence) return;
    let part = $("#said");
    if (!part) {
      part = Object.assign(document.createElement("p"), {id: "said"});
      part.setAttribute("role", "alert");
      part.addEventListener("click", () => part.remove());
      document.body.append(part);
    }
    part.textContent = sentence;
    clearTimeout(said);
    said = setTimeout(() => part.remove(), 8000);
  };

  // Opened by a button, dropped anywhere, pasted anywhere: all go through the one file input, and
  // what is too large is refused before the old picture is touched.
  const open = (file) => {
    if (!file || !input()) return say(texts().none);
    const files = new DataTransfer();
    files.items.add(file);
    input().files = files.files;
    input().dispatchEvent(new Event("change", {bubbles: true}));
  };
  document.addEventListener("change", (event) => {
    if (!event.target.matches("#picture input[type=file]")) return;
    const file = event.target.files[0];
    if (!file) return;
    if (file.size > Number(texts().most)) {
      event.stopImmediatePropagation();
      event.target.value = "";
      return say(texts().large.replace("{name}", file.name));
    }
    root.classList.remove("sheet");
    send("picture", {file});
  }, true);
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    root.dataset.drop = texts().drop ?? "";
    root.classList.add("dropping");
  }, true);
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) root.classList.remove("dropping");
  }, true);
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    event.stopPropagation();
    root.classList.remove("dropping");
    open(event.dataTransfer.files[0]);
  }, true);
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    event.stopPropagation();
    open(file);
  }, true);

  // The camera is Gradio's, in a window over the page; what it takes is kept as an upload is.
  const sources = () => document.querySelectorAll("#picture .source-selection button");
  const closeCamera = () => {
    if (!root.classList.contains("camera")) return;
    root.classList.remove("camera");
    sources()[0]?.click(); // turns the camera off
    $("#source .camera")?.focus();
  };
  const openCamera = () => {
    root.classList.add("camera");
    sources()[1]?.click();
  };
  const captured = async () => {
    const image = $("#picture img");
    if (!root.classList.contains("camera") || !image?.src.includes("/file=")) return;
    root.classList.remove("camera");
    const blob = await (await fetch(image.src)).blob();
    send("picture", {file: new File([blob], "camera.webp", {type: blob.type})});
  };

  // A click enlarges a map to the whole window; while it is held, the network's own input is there.
  let holding = 0, held = false;
  const hold = (on) => {
    clearTimeout(holding);
    document.querySelectorAll("#maps .looks").forEach((part) => part.classList.toggle("hold", on));
  };
  document.addEventListener("pointerdown", (event) => {
    held = false;
    if (event.button || !event.target.closest?.(".enlargeable button")) return;
    holding = setTimeout(() => { held = true; hold(true); }, 250);
  });
  for (const type of ["pointerup", "pointercancel", "blur"]) addEventListener(type, () => hold(false));
  document.addEventListener("contextmenu", (event) => {
    if (held && event.target.closest(".enlargeable")) event.preventDefault();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "i" && event.target.closest?.(".enlargeable")) hold(true);
  });
  document.addEventListener("keyup", (event) => { if (event.key === "i") hold(false); });

  const enlarge = (start) => {
    const tiles = [...document.querySelectorAll("#maps .tile:not(:has(.instead))")];
    let at = tiles.indexOf(start);
    if (at < 0) return;
    const dialog = Object.assign(document.createElement("dialog"), {id: "enlarged"});
    const close = Object.assign(document.createElement("button"), {type: "button", textContent: "×"});
    close.setAttribute("aria-label", texts().close);
    dialog.append(close); // which stays, and with it the keyboard's focus
    const draw = (step) => {
      at = (at + step + tiles.length) % tiles.length;
      const tile = tiles[at].cloneNode(true);
      $(".enlargeable button", tile).remove();
      $(".tile", dialog)?.remove();
      dialog.prepend(tile);
      dialog.setAttribute("aria-label", $("h2", tile).textContent);
    };
    draw(0);
    dialog.addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => {
      const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
      if (step) draw(step);
    });
    dialog.addEventListener("close", () => dialog.remove());
    $(".gradio-container").append(dialog);
    dialog.showModal();
  };

  // On a phone the settings come in a sheet; what else there is stands below the maps.
  const isPhone = () => matchMedia("(max-width: 760px)").matches;
  const isOpen = () => root.classList.contains(isPhone() ? "sheet" : "more");
  const more = (on) => {
    root.classList.toggle(isPhone() ? "sheet" : "more", on);
    sync();
  };
  document.addEventListener("click", (event) => {
    const at = (selector) => event.target.closest?.(selector);
    if (at("#source .open")) {
      input().accept = texts().accept;
      input().click();
    } else if (at("#source .camera")) openCamera();
    else if (at("#more .more")) more(!isOpen());
    else if (at("#answer .all")) {
      more(true);
      setTimeout(() => $("#target input")?.focus());
    } else if (at(".enlargeable button")) {
      if (!held) enlarge(at(".tile"));
    } else if (at(".skip")) {
      event.preventDefault();
      $("#maps .enlargeable button, #maps input")?.focus();
    } else if (root.classList.contains("camera") && !at("#picture")) closeCamera();
    else if (root.classList.contains("sheet") && !at("#ask, [role=option]")) more(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    closeCamera();
    if (root.classList.contains("sheet")) more(false);
  });

  // Each group is one stop of the Tab key, at what is chosen; the arrow keys move within it.
  const GROUPS = "[data-roving], [role=tablist], #language, #stage, .switch, .segments,"
    + " #examples [role=group], #answer";
  const CHOSEN = ":checked, [aria-selected=true], [aria-pressed=true]";
  const TOOLS = "#open-lessons button, #stage-mode .stage"; // a group without a part of its own
  const usable = (all) => [...all].filter((one) => !one.disabled && one.getClientRects().length);
  const members = (group) => usable(group.querySelectorAll("button, input[type=radio]"));
  const tools = () => usable(document.querySelectorAll(TOOLS));
  const rove = () => [...[...document.querySelectorAll(GROUPS)].map(members), tools()].forEach((all) => {
    const first = all.find((one) => one.matches(CHOSEN)) ?? all[0];
    all.forEach((one) => { one.tabIndex = one === first ? 0 : -1; });
  });
  const MOVES = {ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1};
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab") rove();
    if (!MOVES[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
    const group = event.target.closest?.(GROUPS);
    const all = group ? members(group) : tools(), at = all.indexOf(event.target);
    if (at < 0) return;
    event.preventDefault();
    const next = all[(at + MOVES[event.key] + all.length) % all.length];
    all.forEach((one) => { one.tabIndex = one === next ? 0 : -1; });
    next.focus();
    if (next.type === "radio") next.click();
  }, true);

  // Whatever Gradio renders anew is brought in line once per frame; other scripts listen, too.
  let waiting = false;
  const sync = () => {
    waiting = false;
    $("#more .more")?.setAttribute("aria-expanded", isOpen());
    if (root.classList.contains("camera")) captured();
    send("sync");
  };
  new MutationObserver(() => {
    if (!waiting) requestAnimationFrame(sync);
    waiting = true;
  }).observe(document, {
    subtree: true, childList: true, attributes: true,
    attributeFilter: ["aria-selected", "data-address", "src"],
  });

  window.vggviz = {say, open, more, send};
}
