{{- define "tpl.greeting" -}}
good morning {{ .who }}
{{- end -}}
