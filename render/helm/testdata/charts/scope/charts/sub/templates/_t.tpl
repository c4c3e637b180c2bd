{{- define "sub.colour" }}{{ .Chart.Name }} is {{ .Values.colour }}{{ end -}}
