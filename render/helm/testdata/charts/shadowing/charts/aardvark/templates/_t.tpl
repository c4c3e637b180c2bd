{{- define "name" }}the aardvark's{{ end -}}
{{- define "only" }}aardvark of {{ .Chart.Name }}{{ end -}}
