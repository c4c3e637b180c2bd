{{- define "paint.name" -}}
{{ .Release.Name }}-{{ .Chart.Name }}
{{- end -}}
