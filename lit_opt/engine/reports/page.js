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
