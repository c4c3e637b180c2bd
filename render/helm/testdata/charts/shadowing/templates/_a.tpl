{{- define "name" }}the parent's{{ end -}}
{{- define "twice" }}first{{ end -}}
