"""Those that Heloise is measured against: floors, ceilings, and what people would pick instead."""
