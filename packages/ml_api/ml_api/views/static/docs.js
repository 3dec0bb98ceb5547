"use strict";

SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  // No validation by somebody else's server.
  validatorUrl: null,
  // The first click on Execute sends the example.
  tryItOutEnabled: true,
  displayRequestDuration: true,
  // The table of fields is long; it opens where it is asked for.
  defaultModelsExpandDepth: 0,
});
