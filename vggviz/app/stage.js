/* Stage mode: the maps fill the window, and keys do what controls do elsewhere. */
{
  const root = document.documentElement;
  const $ = (selector) => document.querySelector(selector);
  const isOn = () => root.classList.contains("stage-mode");

  const enter = () => {
    $('#tabs [role="tab"][data-tab-id="explore"]')?.click();
    root.classList.add("stage-mode");
    document.activeElement?.blur();
    $("#stage-mode .keys")?.removeAttribute("hidden");
    setTimeout(() => $("#stage-mode .keys")?.setAttribute("hidden", ""), 6000);
    root.requestFullscreen?.().catch(() => {}); // a frame may not: the window is filled anyway
    scrollTo(0, 0);
  };
  const leave = () => {
    root.classList.remove("stage-mode", "bare");
    if (document.fullscreenElement) document.exitFullscreen();
    $("#stage-mode .stage")?.focus();
  };
  document.addEventListener("fullscreenchange", () => {
    if (!document.fullscreenElement && isOn()) leave();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("#stage-mode .stage")) enter();
  });

  const nextClass = () => {
    const chips = [...document.querySelectorAll("#answer .chip")];
    const at = chips.findIndex((chip) => chip.ariaPressed === "true");
    chips[(at + 1) % chips.length]?.click();
  };
  const KEYS = {
    escape: leave,
    a: () => window.vggviz.send("ask", {attention: "next"}),
    c: nextClass,
    " ": () => root.classList.toggle("bare"),
    arrowright: () => window.vggviz.send("step", {by: 1}), // the lessons listen
    arrowleft: () => window.vggviz.send("step", {by: -1}),
    "?": () => $("#stage-mode .keys")?.toggleAttribute("hidden"),
  };
  const WRITES = "input:not([type=radio], [type=range], [type=checkbox]), textarea, select";
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(WRITES)) return;
    const key = event.key.toLowerCase();
    if (key === "f") return isOn() ? leave() : enter();
    if (!isOn() || event.target.closest?.("dialog")) return;
    const stage = document.querySelectorAll("#stage input")[Number(key) - 1];
    const act = /^[1-9]$/.test(key) ? () => stage?.click() : KEYS[key];
    if (!act) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    act();
  }, true);
}
