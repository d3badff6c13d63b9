// Puts Plotly into the page once; the charts wait for it. No view is needed.
export default {
  async initialize({model}) {
    if (!globalThis.autotuneNbPlotly) {
      let resolve;
      const promise = new Promise(done => { resolve = done; });
      globalThis.autotuneNbPlotly = {promise, resolve};
    }
    const {resolve} = globalThis.autotuneNbPlotly;
    if (!globalThis.Plotly?.react) {
      const unzipped = new Blob([model.get("script")]).stream().pipeThrough(new DecompressionStream("gzip"));
      const text = await new Response(unzipped).text();
      if (!globalThis.Plotly?.react) {
        const script = document.createElement("script");
        script.textContent = text;
        document.head.append(script);
      }
    }
    resolve(globalThis.Plotly);
  },
};
