apiVersion: v1
kind: ConfigMap
metadata: {name: {{ include "partials.name" . }}-tpl}
