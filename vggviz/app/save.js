/* The maps as they are on the screen, as a picture or a drawing, without the server. */
{
  const TILE = 576, GAP = 32, EDGE = 40;
  const escape = (text) => text.replace(/[&<>"]/g, (one) => `&#${one.charCodeAt(0)};`);
  const words = (part) => (part?.innerText ?? "").replace(/\s+/g, " ").trim();
  const style = (name) => getComputedStyle(document.querySelector(".gradio-container"))
    .getPropertyValue(name).trim();

  const write = (x, y, size, text, more = "") => text
    ? `<text x="${x}" y="${y}" font-size="${size}" ${more}>${escape(text)}</text>` : "";

  // The images of one tile, where the style sheet lays them.
  const images = (canvas, x, y, clip = "") => [...canvas.querySelectorAll("img, .frame")].map((part) => {
    const {left, top, width, height} = part.style;
    const [l, t, w, h] = [left || 0, top || 0, width || 100, height || 100]
      .map((value) => parseFloat(value) / 100 * TILE);
    if (part.tagName !== "IMG") return `<rect x="${x + l}" y="${y + t}" width="${w}" height="${h}" `
      + 'fill="none" stroke="#fff" stroke-width="3"/>';
    if (part.classList.contains("heat") && document.documentElement.matches(".bare")) return "";
    const share = getComputedStyle(part).opacity;
    const fit = part.classList.contains("heat") ? "none" : "xMidYMid meet";
    return `<image x="${x + l}" y="${y + t}" width="${w}" height="${h}" opacity="${share}" `
      + `preserveAspectRatio="${fit}" href="${part.src}" ${clip}/>`;
  }).join("");

  const bar = (part, x, y, id) => {
    if (!part) return "";
    const [low, high] = [...part.querySelectorAll("b")].map(words);
    const colours = part.querySelector("i")?.style.background.match(/#\w+|rgb\([^)]*\)/g);
    if (!colours) return write(x, y + 14, 18, low);
    const stops = colours.map((colour, at) =>
      `<stop offset="${at / (colours.length - 1)}" stop-color="${colour}"/>`).join("");
    const span = part.querySelector("u")?.style; // of the map's values
    const [left, right] = [span?.left, span?.right].map((value) => (TILE - 140) * parseFloat(value) / 100);
    return `<linearGradient id="${id}">${stops}</linearGradient>`
      + write(x, y + 14, 18, low)
      + `<rect x="${x + 70}" y="${y + 4}" width="${TILE - 140}" height="9" rx="4" fill="url(#${id})"/>`
      + (span ? `<rect class="span" x="${x + 70 + left}" y="${y + 16}" width="${Math.max(3, TILE - 140 - left - right)}" height="3"/>` : "")
      + write(x + TILE, y + 14, 18, high, 'text-anchor="end"');
  };

  const drawing = () => {
    const maps = document.querySelector("#maps");
    const slide = maps.querySelector(".slide");
    const notes = [...maps.querySelectorAll(slide ? ".note" : ".tile")];
    const top = EDGE + 66;
    const parts = notes.map((tile, number) => {
      const x = EDGE + (slide ? 1 : number) * (TILE + GAP);
      const under = slide ? top + 60 + number * 200 : top + 44 + TILE;
      const canvas = tile.querySelector(".canvas");
      const nothing = [...tile.querySelectorAll(".instead p")].map(words).join(" ");
      const picture = canvas ? images(canvas, x, top + 44) : "";
      const heading = slide ? under - 8 : top + 24;
      return write(x, heading, 24, words(tile.querySelector("h2")), 'font-weight="600"') + picture
        + (nothing ? write(x + 20, top + 44 + TILE / 2, 20, nothing) : "")
        + bar(tile.querySelector(".scale"), x, under + 14, `scale${number}`)
        + write(x, under + 60, 18, words(tile.querySelector(":is(figcaption, p):not(:has(.hint))")), 'opacity="0.75"');
    });
    if (slide) {
      const at = parseFloat(slide.querySelector("input").value) / 100 * TILE;
      const [right, left] = [...slide.querySelectorAll(".canvas")];
      parts.push(images(right, EDGE, top + 44)
        + `<clipPath id="left"><rect x="${EDGE}" y="${top}" width="${at}" height="900"/></clipPath>`
        + images(left, EDGE, top + 44, 'clip-path="url(#left)"'));
    }
    const count = slide ? 2 : notes.length;
    const width = 2 * EDGE + count * TILE + (count - 1) * GAP, height = top + 44 + TILE + 130;
    const verdict = words(document.querySelector("#answer .verdict p"));
    const where = document.querySelector("#maps .looks").dataset.stage;
    const network = [...document.querySelectorAll("#weights input, #attention input")]
      .map((one) => one.value);
    const title = write(EDGE, EDGE + 30, 32, verdict, 'font-weight="650"')
      + write(width - EDGE, EDGE + 30, 20, [where, ...network].join(" · "), 'text-anchor="end"');
    const foot = write(EDGE, height - 28, 18, words(maps.querySelector(".agreement b")), 'opacity="0.75"')
      + write(width - EDGE, height - 28, 18, "vggviz", 'text-anchor="end" opacity="0.6"');
    return [width, height, `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" `
      + `viewBox="0 0 ${width} ${height}" font-family="sans-serif" fill="${style("--body-text-color")}">`
      + `<rect width="100%" height="100%" fill="${style("--body-background-fill")}"/>`
      + `${title}${parts.join("")}${foot}</svg>`];
  };

  const download = (blob, name) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    return name;
  };

  window.vggviz.save = async (format) => {
    const [width, height, svg] = drawing();
    const label = words(document.querySelector("#answer .verdict b")).toLowerCase();
    const name = `vggviz-${label.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60)}.${format}`;
    const blob = new Blob([svg], {type: "image/svg+xml"});
    if (format === "svg") return download(blob, name);
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    canvas.getContext("2d").drawImage(image, 0, 0);
    return download(await new Promise((resolve) => canvas.toBlob(resolve)), name);
  };
}
