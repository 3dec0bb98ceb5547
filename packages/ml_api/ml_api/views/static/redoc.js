const element = document.getElementById("redoc");
const { init } = await import(new URL(element.dataset.script, document.baseURI));

init("openapi.json", { disableTelemetry: true }, element);
