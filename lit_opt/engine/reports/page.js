"use strict";
// Every figure's spec stands beside its chart; the theme is the page's, and follows it.
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {
  if (typeof vegaEmbed === "undefined") return;
  for (const chart of document.querySelectorAll(".chart")) {
    const spec = JSON.parse(chart.nextElementSibling.textContent);
    const config = THEMES[dark.matches ? "dark" : "light"];
    vegaEmbed(chart, spec, { actions: false, renderer: "svg", config });
  }
}
dark.addEventListener("change", draw);
draw();

// The confusion matrix: a cell shows its samples. Text only, so that no name becomes markup.
function element(kind, text, parent) {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}
function show(button) {
  for (const other of document.querySelectorAll(".matrix button")) {
    other.setAttribute("aria-pressed", other === button);
  }
  const region = document.getElementById("cell");
  const samples = JSON.parse(document.getElementById("samples").textContent);
  const found = samples.filter((s) => s.true == button.dataset.true && s.pred == button.dataset.pred);
  region.replaceChildren();
  element("h3", button.getAttribute("aria-label"), region);
  if (!found.length) element("p", "None of its samples is kept.", region);
  const list = element("ul", "", region);
  list.className = "cards";
  for (const sample of found) {
    const item = element("li", "", list);
    if (sample.picture) {
      const pictures = element("div", "", item);
      pictures.className = "pictures";
      const image = element("img", "", element("figure", "", pictures));
      image.src = sample.picture;
      image.alt = sample.title;
    }
    element("b", sample.title, item);
    element("span", sample.about, item);
    element("span", sample.name, item);
  }
}
for (const button of document.querySelectorAll(".matrix button")) {
  button.addEventListener("click", () => show(button));
}
