#pragma once
#include <zlib.h>
#include <isa-l.h>
