{{- define "t" -}}
one
two
{{- end -}}
