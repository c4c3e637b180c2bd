{{- define "required.mode" -}}
{{- if not (has . (list "plain" "call")) }}{{ fail (printf "mode %s is unknown" .) }}{{ end -}}
{{ . }}
{{- end -}}
