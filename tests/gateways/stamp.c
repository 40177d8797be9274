/* A native module for Envoy: it says in answers which part of it ran and what that part was told, and it refuses /refused.
   What it needs of Envoy's interface of dynamic modules is declared here; hooks that do nothing are there because Envoy asks. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const char *start;
  size_t length;
} Text;

enum { IN_REQUEST = 0, IN_ANSWER = 2, GO_ON = 0, STOP = 1 };

bool envoy_dynamic_module_callback_http_add_header(void *envoy, int where, Text name, Text value);
bool envoy_dynamic_module_callback_http_get_header(void *envoy, int where, Text name, Text *found, size_t place, size_t *all);
void envoy_dynamic_module_callback_http_send_response(void *envoy, uint32_t status, void *headers, size_t count, Text body,
                                                      Text details);

static Text text(const char *words) { return (Text){words, strlen(words)}; }

const char *envoy_dynamic_module_on_program_init(void) { return "v0.2.0"; }

void *envoy_dynamic_module_on_http_filter_config_new(void *envoy, Text part, Text told) {
  char *stamp = malloc(part.length + told.length + 2);
  sprintf(stamp, "%.*s:%.*s", (int)part.length, part.start, (int)told.length, told.start);
  return stamp;
}

void envoy_dynamic_module_on_http_filter_config_destroy(void *stamp) { free(stamp); }
void *envoy_dynamic_module_on_http_filter_new(void *stamp, void *envoy) { return stamp; }
void envoy_dynamic_module_on_http_filter_destroy(void *stamp) {}

int envoy_dynamic_module_on_http_filter_request_headers(void *envoy, void *stamp, bool last) {
  Text path = {0};
  envoy_dynamic_module_callback_http_get_header(envoy, IN_REQUEST, text(":path"), &path, 0, NULL);
  if (path.length != 8 || memcmp(path.start, "/refused", 8)) return GO_ON;
  envoy_dynamic_module_callback_http_send_response(envoy, 403, NULL, 0, text("not here"), text("stamp"));
  return STOP;
}

int envoy_dynamic_module_on_http_filter_response_headers(void *envoy, void *stamp, bool last) {
  envoy_dynamic_module_callback_http_add_header(envoy, IN_ANSWER, text("x-stamp"), text(stamp));
  return GO_ON;
}

#define PASSES(hook) \
  int envoy_dynamic_module_on_http_filter_##hook(void) { return GO_ON; }
PASSES(request_body)
PASSES(request_trailers)
PASSES(response_body)
PASSES(response_trailers)
PASSES(stream_complete)
PASSES(http_callout_done)
PASSES(http_stream_headers)
PASSES(http_stream_data)
PASSES(http_stream_trailers)
PASSES(http_stream_complete)
PASSES(http_stream_reset)
PASSES(scheduled)
PASSES(downstream_above_write_buffer_high_watermark)
PASSES(downstream_below_write_buffer_low_watermark)
