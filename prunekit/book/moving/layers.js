// Filters kept and removed in each layer, at the places of a run that was recorded.
function prunekitLayers(root, { layers, filters, along, start, curves }) {
  const REMOVED = "#d9d9d9";
  const places = curves.flatMap(({ points }) => points.map(({ at }) => at));
  const stops = [...new Set(places)].sort((a, b) => a - b);
  // Where a curve has no network of its own, the nearest one stands in.
  function here({ points }, stop) {
    const distances = points.map(({ at }) => Math.abs(at - stops[stop]));
    return points[distances.indexOf(Math.min(...distances))];
  }
  const closest = stops.map((at) => Math.abs(at - start));
  const several = curves.length > 1;
  const choice = { name: "curve", label: "criterion", kind: "choice" };
  choice.options = curves.map(({ label }) => label);

  prunekitChart(root, {
    label: "Filters kept and removed in each layer",
    height: 300,
    controls: [
      ...(several ? [choice] : []),
      {
        name: "stop",
        label: along,
        max: stops.length - 1,
        value: closest.indexOf(Math.min(...closest)),
        text: (v, { curve }) => here(curves[curve ?? 0], v).name,
      },
    ],
    draw(picture, { curve = 0, stop }) {
      const { colour } = curves[curve], { removed, said } = here(curves[curve], stop);
      const plot = picture.plot({
        x: { from: 0, to: layers.length, ticks: [], label: "" },
        y: { from: 0, to: Math.max(...filters), label: "filters" },
      });
      layers.forEach((name, place) => {
        const all = filters[place], kept = all - removed[place];
        plot.bar(place + 0.12, place + 0.88, 0, kept, { colour });
        plot.bar(place + 0.12, place + 0.88, kept, all, { colour: REMOVED });
        const [x, y] = [plot.across(place + 0.5) + 4, plot.up(0) + 7];
        picture.add(`<text transform="translate(${x} ${y}) rotate(-90)" text-anchor="end"
          style="font-size: 11px">${name}</text>`);
      });
      picture.legend("kept", { colour, width: 8 });
      picture.legend("removed", { colour: REMOVED, width: 8 });
      return said;
    },
  });
}
