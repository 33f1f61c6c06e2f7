/* The view lives in the address, and a picture of one's own in this browser tab. */
{
  const $ = (selector) => document.querySelector(selector);
  const PICTURE = "vggviz.picture", OPACITY = 0.55, WAIT = 30000; // ms
  const LARGEST = 3 << 20; // bytes of a picture that fit into the tab's storage as text
  const OURS = "example weights attention stage target contrast method layout on colours scale thumbnails"
    .split(" ").concat("opacity", "tab", "lang", "own", "more", "site", "paint");
  const COMPARED = ["example", "weights", "attention", "stage", "target", "contrast", "own"];
  const here = () => new URLSearchParams(location.search);
  const pictures = new Map();
  let own = "", language = here().has("lang");
  let first = null, last = null, settling = 0;

  const current = () => {
    const address = $("#maps .looks")?.dataset.address;
    if (address === undefined) return null;
    const query = new URLSearchParams(address);
    const tab = $('#tabs [role="tab"][aria-selected="true"]')?.dataset.tabId;
    if (tab && tab !== "explore") query.set("tab", tab);
    const share = document.documentElement.style.getPropertyValue("--opacity");
    if (share && Math.abs(share - OPACITY) > 0.005) query.set("opacity", Number(share).toFixed(2));
    const paint = tab === "paint" && $("#paint-board .board")?.dataset.code;
    if (paint) query.set("paint", paint);
    if (!query.has("example") && own) query.set("own", own);
    if (language) query.set("lang", document.documentElement.lang);
    if (document.documentElement.classList.contains("more")) query.set("more", "1");
    for (const [name, value] of here()) if (!OURS.includes(name)) query.append(name, value);
    return query.toString();
  };
  const write = (how, query) => history[how](null, "", `${location.pathname}?${query}`);

  // As the page opens, and after back or forward, parts come one after the other: until the page
  // is what the address says, or WAIT is over, nothing is a step of the visitor. An address is not
  // touched before the server has read it, which `window.vggviz.linked` says.
  let wanted = here(), whole = false; // a link from elsewhere may leave parts open
  const agrees = () => {
    const query = new URLSearchParams(current() ?? "");
    return COMPARED.every((name) => (!whole && !wanted.has(name))
      || wanted.get(name) === query.get(name));
  };
  const settled = () => {
    settling = 0;
    window.vggviz.returning = false;
    const query = current();
    if (!whole && !OURS.some((name) => wanted.has(name))) first = query; // the page as it opens
    else if (query !== last) write("replaceState", query);
    last = query;
  };
  const settle = () => { settling = Date.now() + WAIT; };
  const check = () => {
    if (settling && first !== null && window.vggviz.linked && (agrees() || Date.now() > settling))
      settled();
  };
  setInterval(check, 300);
  for (const type of ["pointerdown", "keydown"]) addEventListener(type, (event) => {
    if (event.isTrusted) check();
  }, true);
  const update = () => {
    const query = current();
    if (query === null) return;
    first ??= query;
    if (settling || query === last) return;
    const [old, now] = [new URLSearchParams(last ?? ""), new URLSearchParams(query)];
    for (const one of [old, now]) ["opacity", "more", "paint"].forEach((name) => one.delete(name));
    write(`${old}` === `${now}` ? "replaceState" : "pushState", query);
    last = query;
  };
  settle();
  document.addEventListener("vggviz:sync", update);
  document.addEventListener("input", (event) => {
    if (event.target.closest("#language")) language = true;
    if (event.target.closest("#opacity")) setTimeout(update, 300);
  });

  const shown = () => current()?.includes("own=") && new URLSearchParams(current()).get("own");
  addEventListener("popstate", () => {
    settle();
    const query = here();
    [wanted, whole] = [location.search ? query : new URLSearchParams(first), true];
    document.documentElement.classList.toggle("more", query.has("more"));
    window.vggviz.send("ask", {query: `${query}` || first});
    if (query.has("own") && query.get("own") !== shown()) reopen(query.get("own"));
  });

  // The picture is stored as text in the tab's own storage, which ends with the tab.
  const asText = (blob) => new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.readAsDataURL(blob);
  });
  const shrink = async (file) => {
    const image = await createImageBitmap(file);
    const scale = Math.min(1, 1600 / Math.max(image.width, image.height));
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width * scale, image.height * scale];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
  };
  let known = ""; // the key of a picture that comes back
  document.addEventListener("vggviz:picture", async ({detail: {file}}) => {
    own = known || Math.random().toString(36).slice(2, 8);
    known = "";
    pictures.set(own, file);
    try {
      const small = file.size > LARGEST ? await shrink(file) : file;
      const stored = {key: own, name: file.name, data: await asText(small)};
      sessionStorage.setItem(PICTURE, JSON.stringify(stored));
    } catch { // full, or a format that browsers don't draw: it does not survive a reload
      sessionStorage.removeItem(PICTURE);
    }
  });
  const reopen = (key) => {
    let file = pictures.get(key);
    const stored = JSON.parse(sessionStorage.getItem(PICTURE) ?? "null");
    if (!file && stored?.key === key) {
      const [head, body] = stored.data.split(",");
      const bytes = Uint8Array.from(atob(body), (letter) => letter.charCodeAt(0));
      file = new File([bytes], stored.name, {type: head.slice(5).split(";")[0]});
    }
    if (!file) {
      wanted.delete("own");
      return window.vggviz.say($("#source .source")?.dataset.lost);
    }
    known = key;
    window.vggviz.returning = true; // with the classes that were chosen for it
    window.vggviz.open(file);
  };
  const key = here().get("own");
  const start = () => {
    if (!$("#maps .looks") || !$("#picture input[type=file]")) return setTimeout(start, 100);
    if (here().has("more")) document.documentElement.classList.add("more");
    if (key) afterAnswer();
  };
  const afterAnswer = () => { // to the link's choices, which would replace the picture
    if (!$("#answer .verdict")) return setTimeout(afterAnswer, 100);
    reopen(key);
  };
  start();
}
