{{/* Prefix of the names of the release's objects. */}}
{{- define "securebucket.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What never changes in the life of a release, so that a selector may hold it. */}}
{{- define "securebucket.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "securebucket.labels" -}}
{{ include "securebucket.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "securebucket.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What the schema cannot say in words that help. All findings at once. */}}
{{- define "securebucket.validate" -}}
{{- $wrong := list -}}
{{- if not .Values.cluster.name -}}
{{- $wrong = append $wrong "cluster.name is required: the name of this cluster, unique in the AWS account, for instance --set cluster.name=prod-eu" -}}
{{- end -}}
{{- if not .Values.aws.region -}}
{{- $wrong = append $wrong "aws.region is required: the region of this cluster, for instance --set aws.region=eu-west-1" -}}
{{- end -}}
{{- if and (gt (len .Values.cluster.name) 20) (not .Values.bucketPrefix) -}}
{{- $wrong = append $wrong (printf "bucketPrefix is required, because cluster.name %q, its default, is longer than 20 characters" .Values.cluster.name) -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.leaderElection.enabled) -}}
{{- $wrong = append $wrong (printf "replicas is %d but leaderElection.enabled is false: two operators would work against each other; set replicas=1 or leaderElection.enabled=true" (int .Values.replicas)) -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "\n\n  %s\n" (join "\n  " $wrong)) -}}
{{- end -}}
{{- end -}}

{{/* Names of the admission policies, or of their bindings, as a JSON list. Call it with a list: the root context and the kind. */}}
{{- define "securebucket.admissionNames" -}}
{{- $root := index . 0 -}}
{{- $kind := index . 1 -}}
{{- $names := list -}}
{{- range $path, $_ := $root.Files.Glob "files/admission/*.yaml" -}}
{{- range $text := regexSplit "(?m)^---\\s*$" ($root.Files.Get $path) -1 -}}
{{- $object := fromYaml $text -}}
{{- if eq (get $object "kind" | default "") $kind -}}
{{- $names = append $names $object.metadata.name -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end -}}
