# pad
{{ define "boundary.t" }}whole{{ end }}
