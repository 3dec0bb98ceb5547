"use strict";

// Swagger UI has dark colours, and a switch for them in a bar that this page lacks: they follow the system.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // Do not send the document to the validator of swagger.io.
  validatorUrl: null,
  // Execute is available at once, with the example as the body.
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // The list of schemas is long, so it is collapsed.
  defaultModelsExpandDepth: 0,
});
