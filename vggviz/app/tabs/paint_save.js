// 'Save as picture' of the tab 'Paint': the painted photograph and the answer beside it, as a PNG in
// the page's colours; goes on from paint.js.
const WIDE = 1280, HIGH = 720, EDGE = 40, BAR = 520;
const styleOf = (selector) => getComputedStyle($(selector));
const saved = () => { // the canvas
  const picture = Object.assign(document.createElement("canvas"), {width: WIDE, height: HIGH});
  const context = picture.getContext("2d"), side = HIGH - 2 * EDGE, left = side + 2 * EDGE;
  const colours = styleOf("#paint-answer .moving li"), faint = styleOf("#paint-answer s").color;
  const font = (size, weight = 400) => `${weight} ${size}px ${colours.fontFamily}`;
  const put = (words, x, y, how, colour = colours.color, width = BAR) => {
    context.font = how;
    context.fillStyle = colour;
    context.fillText(words, x, y, width);
  };
  const rect = (x, y, width, height, colour) => {
    context.fillStyle = colour;
    context.fillRect(x, y, width, height);
  };
  rect(0, 0, WIDE, HIGH, getComputedStyle(document.body).backgroundColor);
  context.imageSmoothingQuality = "high";
  for (const layer of board.querySelectorAll(".easel :is(img, canvas)"))
    context.drawImage(layer, EDGE, EDGE, side, side);
  const accent = styleOf("#paint-answer .bar i").backgroundColor;
  put($("#paint-answer .goal b").textContent, left, 74, font(30, 650));
  put($("#paint-tools [data-stage][aria-pressed=true]").textContent, left, 114, font(20), faint);
  context.textAlign = "right";
  all("#paint-answer .columns span").forEach((head, n) =>
    put(head.textContent, left + BAR - 90 * (1 - n), 152, font(18), faint));
  context.textAlign = "left";
  [...all("#paint-answer li")].forEach((row, n) => {
    const y = 190 + 88 * n, [now, was] = ["--now", "--was"].map((one) => row.style.getPropertyValue(one));
    put(row.querySelector(".name").textContent, left, y, font(22, n ? 400 : 650), colours.color, 300);
    context.textAlign = "right";
    put(row.querySelector("b").textContent, left + BAR - 90, y, font(22, 600));
    put(row.querySelector("s").textContent, left + BAR, y, font(22), faint);
    context.textAlign = "left";
    rect(left, y + 14, BAR, 20, styleOf("#paint-answer .bar").backgroundColor);
    rect(left, y + 14, BAR * now, 14, accent);
    rect(left, y + 28, BAR * was, 6, faint);
  });
  put("vggviz", left, HIGH - EDGE, font(18), faint);
  return picture;
};
ACTS.save = () => {
  if (comparing) compare(false);
  saved().toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), {href: URL.createObjectURL(blob)});
    link.download = `vggviz-${board.dataset.example || "picture"}-painted.png`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
};
