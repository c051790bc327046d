// Unpacks 3Dmol.js and lets it draw the molecule; without it, the table of positions remains.
"use strict";
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return await new Response(stream).text();
}
function show(place) {
  const viewer = window.$3Dmol.createViewer(place, { backgroundAlpha: 0, disableFog: true });
  viewer.addModel(place.dataset.xyz, "xyz");
  viewer.setStyle({}, { stick: { radius: 0.12 }, sphere: { scale: 0.28 } });
  const atoms = viewer.selectedAtoms({});
  const extent = (axis) => Math.max(...atoms.map((atom) => atom[axis])) - Math.min(...atoms.map((atom) => atom[axis]));
  const longest = ["x", "y", "z"].reduce((one, other) => (extent(other) > extent(one) + 1e-6 ? other : one));
  if (longest !== "x") viewer.rotate(90, longest === "z" ? "y" : "z");
  viewer.rotate(15, "x");
  viewer.zoomTo();
  viewer.zoom(Math.min(2.5, Math.max(0.9, 6 / (extent(longest) + 1)))); // nothing is shown smaller than 10 angstrom
  viewer.render();
  const turns = { ArrowLeft: [-15, "y"], ArrowRight: [15, "y"], ArrowUp: [-15, "x"], ArrowDown: [15, "x"] };
  const zooms = { "+": 1.2, "=": 1.2, "-": 1 / 1.2 };
  place.addEventListener("keydown", (event) => {
    if (turns[event.key]) viewer.rotate(...turns[event.key]);
    else if (zooms[event.key]) viewer.zoom(zooms[event.key]);
    else return;
    event.preventDefault();
    viewer.render();
  });
  place.dataset.shown = "yes";
}
unpack(document.getElementById("library").textContent)
  .then((source) => {
    const script = document.createElement("script");
    script.textContent = source;
    document.head.append(script);
    document.querySelectorAll(".viewer").forEach(show);
  })
  .catch((error) => {
    document.querySelectorAll(".viewer").forEach((place) => place.classList.add("absent"));
    document.body.dataset.viewer = String(error);
  });
