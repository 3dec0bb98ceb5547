const element = document.getElementById("redoc");
const { init } = await import(element.dataset.script);

init("openapi.json", { disableTelemetry: true }, element);
