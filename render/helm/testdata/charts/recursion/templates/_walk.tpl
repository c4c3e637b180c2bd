{{- define "walk" -}}
{{- $path := .path -}}
{{- if kindIs "map" .node }}
{{- range $k, $v := .node }}
{{- include "walk" (dict "path" (append $path $k) "node" $v) }}
{{- end }}
{{- else if kindIs "slice" .node }}
{{- range $i, $v := .node }}
{{- include "walk" (dict "path" (append $path (toString $i)) "node" $v) }}
{{- end }}
{{- else }}
{{ join "." $path }}: {{ .node | quote }}
{{- end }}
{{- end -}}
{{- define "endless" }}{{ include "endless" . }}{{ end -}}
