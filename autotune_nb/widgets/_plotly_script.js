// Brings Plotly's script into the page, unzipped, for the charts to install. It has no view.
export default {
  initialize({model}) {
    if (!globalThis.autotuneNbPlotly) {
      let resolve, arrived;
      const promise = new Promise(done => { resolve = done; }), script = new Promise(done => { arrived = done; });
      globalThis.autotuneNbPlotly = {promise, resolve, script, arrived};
    }
    const {arrived} = globalThis.autotuneNbPlotly;
    const unzipped = new Blob([model.get("script")]).stream().pipeThrough(new DecompressionStream("gzip"));
    // Not awaited: anywidget gives a model two seconds to begin.
    new Response(unzipped).text().then(arrived);
  },
};
